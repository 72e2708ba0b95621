// Vectors of doubles, with their exponential. Multiplications and additions only and no fma: every value has
// the same bits at every instruction set level, and in NumPy.
#pragma once

#include "cpu/simd/simd.h"
#include "math/draw.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kDoubles = kLanes / 2;

typedef double DoubleLanes __attribute__((vector_size(4 * kLanes)));
typedef int64_t LongLanes __attribute__((vector_size(4 * kLanes)));
typedef float HalfLanes __attribute__((vector_size(2 * kLanes)));

PARARNN_HD DoubleLanes load_doubles(const double* from) {
  DoubleLanes out;
  memcpy(&out, from, sizeof(out));
  return out;
}

PARARNN_HD DoubleLanes load_doubles(const float* from) {
  HalfLanes half;
  memcpy(&half, from, sizeof(half));
  return __builtin_convertvector(half, DoubleLanes);
}

PARARNN_HD DoubleLanes broadcast(double x) { return x - DoubleLanes{}; }

PARARNN_HD DoubleLanes exp_scaled(DoubleLanes x, int bits) {
  return exp_scaled_as<DoubleLanes, LongLanes>(x, bits);
}

// x positive and normal: m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m - 1) / (m + 1)).
PARARNN_HD double log(double x) {
  int64_t word;
  memcpy(&word, &x, sizeof(word));
  double e = double((word >> 52) - 1022);
  word = (word & 0xfffffffffffff) | (int64_t(1022) << 52);
  double m;
  memcpy(&m, &word, sizeof(m));
  if (m < 0.7071067811865476) {
    m = m * 2.0;
    e = e - 1.0;
  }
  const double f = (m - 1.0) / (m + 1.0), square = f * f;
  double series = 1.0 / 23.0;
  for (int odd = 21; odd > 0; odd -= 2) series = series * square + 1.0 / double(odd);
  return e * 0x1.62e42fefa3800p-1 + (e * 0x1.ef35793c76730p-45 + 2.0 * f * series);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
