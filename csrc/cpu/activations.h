// Rows of float32 quantised to integers in [-127, 127], with a scale per group of inputs.
#pragma once

#include "../params.h"
#include "int_simd.h"

namespace pararnn {
namespace PARARNN_ISA {

// Per row and head: padded_inputs integers, groups scales, and groups starts: what a sum over a group of
// weights that are stored `zero` too large has to start from.
template <class Integer>
struct Activations {
  int64_t padded_inputs;
  int64_t groups;
  Integer* values;
  float* scales;
  int32_t* starts;
};

// The largest |x| by its bits: one order of numbers whatever the order of the values, and NaN above all.
PARARNN_HD int32_t largest_bits(const float* x, int64_t count) {
  IntLanes largest{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const IntLanes size = bits(load(x + i, count - i)) & 0x7fffffff;
    largest = size > largest ? size : largest;
  }
  int32_t lanes[kLanes], result = 0;
  memcpy(lanes, &largest, sizeof(lanes));
  for (const int32_t lane : lanes) result = lane > result ? lane : result;
  return result;
}

// The nearest integers, ties to even, of |x| <= 2^22.
PARARNN_HD IntLanes nearest(Vec x) {
  const Vec magic(12582912.0f);  // 1.5 * 2^23: the integer then stands in the low bits
  return bits(x + magic) - bits(magic);
}

// One group of `count` inputs; the values up to `padded` become 0.
template <class Integer>
PARARNN_HD void quantize_group(const float* x, int64_t count, int64_t padded, int32_t zero, Integer* values,
                               float* scale, int32_t* start) {
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr float kLargest = 127.0f;
  const int32_t word = largest_bits(x, count);
  float largest;
  memcpy(&largest, &word, sizeof(largest));
  const float inverse = kLargest / largest;
  const bool usable = word < kInfinity && inverse <= 3.0e38f;
  const Vec factor(usable ? inverse : 0.0f);
  IntLanes sums{};
  for (int64_t i = 0; i < padded; i += kLanes) {
    // Not usable: a product with NaN or infinity would be no integer.
    const IntLanes q = usable ? nearest(load(x + i, count - i) * factor) : IntLanes{};
    sums += q;
    store_narrow(values + i, q);
  }
  int32_t lanes[kLanes], sum = 0;
  memcpy(lanes, &sums, sizeof(lanes));
  for (const int32_t lane : lanes) sum += lane;
  *scale = word < kInfinity ? largest / kLargest : __builtin_nanf("");
  *start = -zero * sum;
}

// The inputs of one head of one row.
template <class Integer>
PARARNN_HD void quantize_row(const float* x, int64_t inputs, int64_t group_size, int32_t zero, int64_t index,
                             const Activations<Integer>& to) {
  Integer* const values = to.values + index * to.padded_inputs;
  for (int64_t group = 0; group < to.groups; ++group) {
    const int64_t begin = group * group_size, left = inputs - begin;
    const int64_t count = left < group_size ? left : group_size;
    const int64_t at = index * to.groups + group;
    quantize_group(x + begin, count, rounded_up(count, kGroupStep), zero, values + begin, to.scales + at,
                   to.starts + at);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
