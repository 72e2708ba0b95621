// Vectors of doubles, with their exponential. Multiplications and additions only and no fma: every value has
// the same bits at every instruction set level, and in NumPy.
#pragma once

#include "simd.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kDoubles = kLanes / 2;

typedef double DoubleLanes __attribute__((vector_size(4 * kLanes)));
typedef int64_t LongLanes __attribute__((vector_size(4 * kLanes)));
typedef float HalfLanes __attribute__((vector_size(2 * kLanes)));

// x + 1.5 * 2^52 - 1.5 * 2^52 rounds half to even; the integer stands in the low bits of the first sum.
constexpr double kRoundMagic = 6755399441055744.0;

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

PARARNN_HD DoubleLanes round_to_integer(DoubleLanes x) { return (x + kRoundMagic) - kRoundMagic; }

// 2^bits e^x for x <= 0, with x below -60 taken as -60; relative error below 4e-16 (reference: exp_scaled in
// pararnn_core/reference_sampler.py).
PARARNN_HD DoubleLanes exp_scaled(DoubleLanes x, int bits) {
  const DoubleLanes lowest = broadcast(-60.0);
  x = x < lowest ? lowest : x;
  const DoubleLanes shifted = x * 1.4426950408889634 + kRoundMagic;
  const DoubleLanes n = shifted - kRoundMagic;
  const DoubleLanes r = (x - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
  DoubleLanes p = r * 0x1.28a2ca617b969p-22 + 0x1.72fafebdaf273p-19;
  p = p * r + 0x1.a019a6611cad5p-16;
  p = p * r + 0x1.a01978b8b3d18p-13;
  p = p * r + 0x1.6c16c17f46982p-10;
  p = p * r + 0x1.1111112ddae8bp-7;
  p = p * r + 0x1.55555555520a4p-5;
  p = p * r + 0x1.555555554b736p-3;
  p = p * r + 0x1.0000000000005p-1;
  p = p * r + 0x1.000000000001ep+0;
  p = p * r + 1.0;
  const LongLanes exponent = (LongLanes)shifted - (LongLanes)broadcast(kRoundMagic);
  return p * (DoubleLanes)((exponent + (1023 + bits)) << 52);
}

PARARNN_HD double exp_scaled(double x, int bits) { return exp_scaled(broadcast(x), bits)[0]; }

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
