// The functions of a cell for one channel in float or double, as a GPU thread or a plain loop has it.
#pragma once

#include <cmath>

#include "math/host_device.h"

#if defined(__CUDACC__) || defined(PARARNN_CUDA_HOST)
#include "math/special.h"
#define PARARNN_HAS_SPECIAL_FUNCTIONS
#endif

namespace pararnn {
namespace PARARNN_ISA {

PARARNN_HD float madd(float x, float y, float z) { return fmaf(x, y, z); }
PARARNN_HD double madd(double x, double y, double z) { return ::fma(x, y, z); }

#ifdef PARARNN_HAS_SPECIAL_FUNCTIONS
// expf and the division take 21 instructions more, half of them for results that are no normal numbers, which
// a sigmoid may take for 0, and branch there. The error is within 2e-7.
PARARNN_HD float sigmoid(float x) {
  constexpr float kLog2E = 1.44269504f;
  return special_reciprocal(1.0f + special_exp2(-kLog2E * x));
}
#else
PARARNN_HD float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
#endif
PARARNN_HD double sigmoid(double x) { return 1.0 / (1.0 + ::exp(-x)); }

// Within 3 units in the last place: a GPU divides by a reciprocal, which takes half the instructions.
PARARNN_HD float silu(float x) {
#ifdef __CUDA_ARCH__
  return __fdividef(x, 1.0f + expf(-x));
#else
  return x / (1.0f + expf(-x));
#endif
}

PARARNN_HD float tanh(float x) { return tanhf(x); }
PARARNN_HD double tanh(double x) { return ::tanh(x); }

}  // namespace PARARNN_ISA
}  // namespace pararnn
