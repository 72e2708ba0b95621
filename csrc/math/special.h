// The special functions of a GPU, one instruction each. Tests on a host take them as wrong as the hardware
// may be: ex2.approx.ftz and rcp.approx.ftz of the PTX ISA promise relative errors of at most 2^-22 and
// 2^-23.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "math/host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

#ifdef __CUDA_ARCH__

PARARNN_HD float special_exp2(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

PARARNN_HD float special_reciprocal(float x) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

#else

// Up or down by so much, as the bits of x have it.
PARARNN_HD float inexact(double value, float x, double error) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  const bool up = (bits * 2654435761u >> 16 & 1u) != 0;
  return float(value * (up ? 1.0 + error : 1.0 - error));
}

PARARNN_HD float special_exp2(float x) { return inexact(::exp2(double(x)), x, 0x1p-22); }
PARARNN_HD float special_reciprocal(float x) { return inexact(1.0 / double(x), x, 0x1p-23); }

#endif

}  // namespace PARARNN_ISA
}  // namespace pararnn
