// Drawing an id from a row of scores: the weights of the draw, and what the options of a request mean. The
// same text for CPU and GPU, without fma, so that both draw the same id from the same scores.
#pragma once

#include <cstring>

#include "math/philox.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// x + 1.5 * 2^52 - 1.5 * 2^52 rounds half to even; the integer stands in the low bits of the first sum.
constexpr double kRoundMagic = 6755399441055744.0;

template <class Real>
PARARNN_HD Real round_to_integer(Real x) {
  return (x + kRoundMagic) - kRoundMagic;
}

// 2^bits e^x for x <= 0, with x below -60 taken as -60; relative error below 4e-16 (reference: exp_scaled in
// pararnn_core/reference_sampler.py). Real: double or a vector of them; Integer: as wide.
template <class Real, class Integer>
PARARNN_HD Real exp_scaled_as(Real x, int bits) {
  const Real lowest = Real{} - 60.0, magic = Real{} + kRoundMagic;
  x = x < lowest ? lowest : x;
  const Real shifted = x * 1.4426950408889634 + kRoundMagic;
  const Real n = shifted - kRoundMagic;
  const Real r = (x - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
  Real p = r * 0x1.28a2ca617b969p-22 + 0x1.72fafebdaf273p-19;
  p = p * r + 0x1.a019a6611cad5p-16;
  p = p * r + 0x1.a01978b8b3d18p-13;
  p = p * r + 0x1.6c16c17f46982p-10;
  p = p * r + 0x1.1111112ddae8bp-7;
  p = p * r + 0x1.55555555520a4p-5;
  p = p * r + 0x1.555555554b736p-3;
  p = p * r + 0x1.0000000000005p-1;
  p = p * r + 0x1.000000000001ep+0;
  p = p * r + 1.0;
  Integer exponent, zero;
  memcpy(&exponent, &shifted, sizeof(exponent));
  memcpy(&zero, &magic, sizeof(zero));
  exponent = (exponent - zero + (1023 + bits)) << 52;
  Real scale;
  memcpy(&scale, &exponent, sizeof(scale));
  return p * scale;
}

PARARNN_HD double exp_scaled(double x, int bits) { return exp_scaled_as<double, int64_t>(x, bits); }

// What a score weighs: 2^kWeightBits e^((score - best) / temperature), rounded half to even. Whole numbers
// below 2^53, so that sums are exact in doubles and in integers and have no order.
constexpr int kWeightBits = 42;

PARARNN_HD double weight(double tempered) { return round_to_integer(exp_scaled(tempered, kWeightBits)); }

// By how far a tempered score lies below the best: in sixteenths, so that a cut need be sought in one bucket
// only.
constexpr int kBuckets = 512;

PARARNN_HD int bucket_of(double tempered) {
  const double depth = -16.0 * tempered;
  return depth < double(kBuckets - 1) ? int(depth) : kBuckets - 1;
}

// One row with its options. mask: null if every id may be drawn.
struct SampleRow {
  const float* logits;
  int64_t vocab;
  SampleNumbers numbers;
  SampleCounters counters;
  const uint8_t* seen;
  int32_t* counts;
  const int32_t* bias_ids;
  const double* biases;
  int64_t num_biases;
  const int32_t* mask;

  static PARARNN_HD SampleRow of(const SampleParams& p, int64_t i) {
    const int64_t slot = p.slots[i], first_bias = p.bias_bounds[slot];
    return {p.logits + p.logits_rows[i] * p.vocab,
            p.vocab,
            p.numbers[slot],
            p.counters[slot],
            p.seen == nullptr ? nullptr : p.seen + slot * p.seen_stride,
            p.counts == nullptr ? nullptr : p.counts + slot * p.vocab,
            p.bias_ids + first_bias,
            p.biases + first_bias,
            p.bias_bounds[slot + 1] - first_bias,
            p.masks == nullptr || !p.masked[slot] ? nullptr : p.masks + slot * p.mask_stride};
  }

  PARARNN_HD bool repeats() const { return numbers.repetition_penalty != 1.0; }
  PARARNN_HD bool counts_matter() const {
    return numbers.presence_penalty != 0.0 || numbers.frequency_penalty != 0.0;
  }
  PARARNN_HD bool changes_logits() const { return num_biases > 0 || repeats() || counts_matter(); }
  PARARNN_HD bool is_masked() const { return mask != nullptr; }
  PARARNN_HD bool forbids(int64_t id) const {
    return is_masked() && (uint32_t(mask[id / kMaskBits]) >> (id % kMaskBits) & 1) == 0;
  }
  PARARNN_HD bool is_greedy() const { return numbers.temperature == 0.0; }
  PARARNN_HD bool has_top_k() const { return counters.top_k > 0 && counters.top_k < vocab; }
  PARARNN_HD bool has_top_p() const { return numbers.top_p < 1.0; }
  PARARNN_HD double least_weight() const { return numbers.min_p * double(int64_t(1) << kWeightBits); }

  // Scores of an id that was fed, and of one that was drawn `count` times.
  PARARNN_HD double repeated(double score) const {
    return score > 0.0 ? score / numbers.repetition_penalty : score * numbers.repetition_penalty;
  }
  PARARNN_HD double counted(double score, int32_t count) const {
    const double occurrences = numbers.frequency_penalty * double(count);
    return score - (numbers.presence_penalty + occurrences);
  }

  // floor(u * total): the running sum of the weights that the draw must exceed.
  PARARNN_HD int64_t target(int64_t total) const {
    const uint64_t u = uniform_bits(counters.seed, counters.choice, counters.output_index);
    return int64_t((unsigned __int128)(u)*uint64_t(total) >> kUniformBits);
  }
};

// After `token` was drawn from row i.
PARARNN_HD void count_draw(const SampleParams& p, int64_t i, const SampleRow& row, int64_t token) {
  ++p.counters[p.slots[i]].output_index;
  if (row.counts_matter()) ++row.counts[token];
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
