// What the options of sampling are as tensors, and how large a vocabulary may be.
#pragma once

#include "params/params.h"
#include "require.h"

namespace pararnn {

constexpr int64_t kSampleNumbers = sizeof(SampleNumbers) / sizeof(double);
constexpr int64_t kSampleCounters = sizeof(SampleCounters) / sizeof(int64_t);

inline int64_t mask_words(int64_t vocab) { return (vocab + kMaskBits - 1) / kMaskBits; }

// Beyond it the weights of a row might not sum up in 63 bits.
constexpr int64_t kMaxVocab = int64_t(1) << 20;

inline void check_vocab(int64_t vocab) {
  PARARNN_REQUIRE(vocab >= 1 && vocab <= kMaxVocab, "logits: expected 1 to ", kMaxVocab, " columns, got ",
                  vocab);
}

}  // namespace pararnn
