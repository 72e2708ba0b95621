// Rows of float32 quantised to integers in [-127, 127], with a scale per group of inputs.
#pragma once

#include "cpu/products/int_formats.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// Per row and head: padded_inputs integers, groups scales, and starts: what the sums over a group of weights
// that are stored too large have to start from, as the format of the weights wants it.
template <class Integer>
struct Activations {
  int64_t padded_inputs;
  int64_t groups;
  int64_t starts_per_group;
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
template <class Format>
PARARNN_HD void quantize_group(const float* x, int64_t count, int64_t padded,
                               typename Format::Activation* values, float* scale, int32_t* starts) {
  constexpr int32_t kInfinity = 0x7f800000;
  constexpr float kLargest = 127.0f;
  const int32_t word = largest_bits(x, count);
  float largest;
  memcpy(&largest, &word, sizeof(largest));
  const float inverse = kLargest / largest;
  const bool usable = word < kInfinity && inverse <= 3.0e38f;
  const Vec factor(usable ? inverse : 0.0f);
  for (int64_t i = 0; i < padded;) {
    const int64_t left = padded - i, run = Format::kStartUnits * kUnit;
    const int64_t end = i + (left < run ? left : run);
    IntLanes sums{};
    for (; i < end; i += kLanes) {
      // Not usable: a product with NaN or infinity would be no integer.
      const IntLanes q = usable ? nearest(load(x + i, count - i) * factor) : IntLanes{};
      sums += q;
      store_narrow(values + i, q);
    }
    *starts++ = Format::start(sums);
  }
  *scale = word < kInfinity ? largest / kLargest : __builtin_nanf("");
}

// The inputs of one head of one row.
template <class Format>
PARARNN_HD void quantize_row(const float* x, int64_t inputs, int64_t group_size, int64_t index,
                             const Activations<typename Format::Activation>& to) {
  auto* const values = to.values + index * to.padded_inputs;
  for (int64_t group = 0; group < to.groups; ++group) {
    const int64_t begin = group * group_size, left = inputs - begin;
    const int64_t count = left < group_size ? left : group_size;
    const int64_t at = index * to.groups + group;
    quantize_group<Format>(x + begin, count, rounded_up(count, kGroupStep), values + begin, to.scales + at,
                           to.starts + at * to.starts_per_group);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
