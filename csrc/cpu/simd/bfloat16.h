// bfloat16 in memory, float32 in registers: widening is exact, narrowing rounds to nearest even.
#pragma once

#include "cpu/simd/simd.h"

namespace pararnn {
namespace PARARNN_ISA {

struct BFloat16 {
  uint16_t bits;
};

typedef uint16_t HalfLanes __attribute__((vector_size(2 * kLanes)));

PARARNN_HD Vec widen(HalfLanes halves) { return from_bits(__builtin_convertvector(halves, IntLanes) << 16); }

PARARNN_HD Vec load(const BFloat16* from) {
  HalfLanes halves;
  memcpy(&halves, from, sizeof(halves));
  return widen(halves);
}

PARARNN_HD Vec load(const BFloat16* from, int64_t count) {
  if (count >= kLanes) return load(from);
  HalfLanes halves{};
  if (count > 0) memcpy(&halves, from, size_t(count) * sizeof(BFloat16));
  return widen(halves);
}

// The float32 values that bfloat16 can hold.
PARARNN_HD Vec round_to_bfloat16(Vec x) {
  const IntLanes word = bits(x);
  const IntLanes rounded = word + (0x7fff + ((word >> 16) & 1));
  const IntLanes quiet_nan = word | 0x400000;
  const auto is_number = x.lanes == x.lanes;
  return from_bits((is_number ? rounded : quiet_nan) & ~0xffff);
}

// x must be a bfloat16 value already.
PARARNN_HD void store(BFloat16* to, Vec x, int64_t count) {
  const HalfLanes halves = __builtin_convertvector(bits(x) >> 16, HalfLanes);
  if (count > 0) memcpy(to, &halves, size_t(count < kLanes ? count : kLanes) * sizeof(BFloat16));
}

PARARNN_HD Vec round_to(const float*, Vec x) { return x; }
PARARNN_HD Vec round_to(const BFloat16*, Vec x) { return round_to_bfloat16(x); }

}  // namespace PARARNN_ISA
}  // namespace pararnn
