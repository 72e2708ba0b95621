// Between what a kernel reads or writes and float32. Widening bfloat16 is exact.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

#include "math/host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

struct BFloat16 {
  uint16_t bits;
};

PARARNN_HD float widen(float x) { return x; }

PARARNN_HD float widen(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float out;
  memcpy(&out, &bits, sizeof(out));
  return out;
}

// To the nearest, of two the even one; NaN stays NaN. One instruction on a GPU.
PARARNN_HD BFloat16 narrow(float x) {
#ifdef __CUDA_ARCH__
  const __nv_bfloat16 nearest = __float2bfloat16_rn(x);
  BFloat16 out;
  memcpy(&out, &nearest, sizeof(out));
  return out;
#else
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  if (x != x) return {uint16_t(bits >> 16 | 0x40)};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#endif
}

template <class Scalar>
PARARNN_HD Scalar narrow_to(float x) {
  if constexpr (sizeof(Scalar) == sizeof(float)) {
    return x;
  } else {
    return narrow(x);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
