// Drawing ids from logits. On a GPU all pointers are to its memory, nothing is checked there, and ids of
// biases rise within a slot.
#pragma once

#include <cstdint>

namespace pararnn {

// How the rows of one slot are sampled. top_k 0: off.
struct SampleNumbers {
  double temperature;
  double top_p;
  double min_p;
  double repetition_penalty;
  double presence_penalty;
  double frequency_penalty;
};
struct SampleCounters {
  int64_t top_k;
  int64_t seed;
  int64_t choice;
  int64_t output_index;
};

// Ids of one word of a mask.
constexpr int64_t kMaskBits = 32;

// tokens[i] is drawn from row logits_rows[i] of logits (*, vocab) with the options of slots[i], none twice:
// -1 if the row has NaN, +inf, or -inf for every id that may be drawn, and then nothing else changes; else
// output_index grows by one, and counts[slot, token] too where a penalty needs it. numbers, counters (slots);
// seen (slots, seen_stride) bitmaps; counts (slots, vocab); the biases of slot s are bias_bounds[s] ..
// bias_bounds[s + 1]. Of a slot with masked[slot] only ids with a bit in masks (slots, mask_stride) are
// drawn: bit id % 32 of word id / 32. seen and counts may be null where no option needs them, masked and
// masks where no slot is masked.
struct SampleParams {
  int64_t rows;
  int64_t vocab;
  const float* logits;
  const int64_t* logits_rows;
  const int32_t* slots;
  const SampleNumbers* numbers;
  SampleCounters* counters;
  const uint8_t* seen;
  int64_t seen_stride;
  int32_t* counts;
  const int64_t* bias_bounds;
  const int32_t* bias_ids;
  const double* biases;
  const bool* masked;
  const int32_t* masks;
  int64_t mask_stride;
  int64_t* tokens;
};

// Of targets[i] in row logits_rows[i] of logits (*, vocab), with the top_counts[i] likeliest ids, the
// likeliest first, in row i of top_ids and top_logprobs (rows, top_stride). finite[i] false: nothing else is
// written.
struct TokenLogprobsParams {
  int64_t rows;
  int64_t vocab;
  const float* logits;
  const int64_t* logits_rows;
  const int64_t* targets;
  const int64_t* top_counts;
  int64_t top_stride;
  bool* finite;
  double* logprobs;
  int64_t* top_ids;
  double* top_logprobs;
};

}  // namespace pararnn
