// Options of requests, a slot for each kind of them.
#pragma once

#include <cstdint>
#include <vector>

#include "exact_buffer.h"
#include "params/params.h"
#include "random.h"

namespace pararnn {

struct SampleTable {
  int64_t vocab;
  std::vector<SampleNumbers> numbers;
  std::vector<SampleCounters> counters;
  std::vector<uint8_t> seen;
  std::vector<int32_t> counts, bias_ids;
  std::vector<int64_t> bias_bounds{0};
  std::vector<double> biases;
  std::vector<uint8_t> masked;
  std::vector<int32_t> masks;

  explicit SampleTable(int64_t size) : vocab(size) {}

  void add(const SampleNumbers& its_numbers, int64_t top_k, bool biased, Random& random) {
    numbers.push_back(its_numbers);
    counters.push_back({top_k, int64_t(random.next() >> 1), random.integer(0, 3), random.integer(0, 1000)});
    for (int64_t byte = 0; byte < (vocab + 7) / 8; ++byte) seen.push_back(uint8_t(random.next()));
    for (int64_t id = 0; id < vocab; ++id)
      counts.push_back(random.integer(0, 3) == 0 ? int32_t(random.integer(1, 3)) : 0);
    if (biased) {
      bias_ids.push_back(int32_t(vocab - 1));
      biases.push_back(3.0);
    }
    bias_bounds.push_back(int64_t(bias_ids.size()));
    add_mask(random);
  }

  int64_t mask_words() const { return (vocab + kMaskBits - 1) / kMaskBits; }
  bool allows(int64_t slot, int64_t id) const {
    const int64_t word = slot * mask_words() + id / kMaskBits;
    return masked[size_t(slot)] == 0 || (uint32_t(masks[size_t(word)]) >> (id % kMaskBits) & 1) != 0;
  }

  int64_t slots() const { return int64_t(numbers.size()); }

 private:
  // Of three slots in a row one is free, one masked by some ids and one by a single id; beyond the vocabulary
  // any bit may be set.
  void add_mask(Random& random) {
    const int64_t kind = int64_t(masked.size()) % 3, only = random.integer(0, vocab - 1);
    masked.push_back(kind != 0);
    for (int64_t word = 0; word < mask_words(); ++word) {
      const int64_t ids_left = vocab - word * kMaskBits;
      const uint32_t beyond = ids_left < kMaskBits ? ~uint32_t(0) << ids_left : 0;
      uint32_t bits = uint32_t(random.next()) & (kind == 2 ? beyond : ~uint32_t(0));
      if (only / kMaskBits == word) bits |= uint32_t(1) << only % kMaskBits;
      masks.push_back(int32_t(bits));
    }
  }
};

inline void fill_flags(Exact<bool>& flags, const std::vector<uint8_t>& values) {
  for (int64_t i = 0; i < flags.size(); ++i) flags[i] = values[size_t(i)] != 0;
}

// temperature, top_p, min_p, repetition, presence, frequency
inline SampleTable all_kinds(int64_t vocab, Random& random) {
  SampleTable table(vocab);
  for (const double repetition : {1.0, 1.3}) {
    for (const double penalty : {0.0, 0.5}) {
      table.add({0.0, 1.0, 0.0, repetition, penalty, penalty}, 0, false, random);
      table.add({1.0, 1.0, 0.0, repetition, penalty, penalty}, 0, true, random);
      table.add({0.7, 0.9, 0.0, repetition, penalty, 0.0}, 0, false, random);
      table.add({0.7, 1.0, 0.05, repetition, penalty, 0.0}, 5, false, random);
      table.add({1.5, 0.5, 0.05, repetition, 0.0, penalty}, 40, true, random);
      table.add({0.01, 0.999, 0.0, repetition, penalty, penalty}, vocab, true, random);
    }
  }
  return table;
}

}  // namespace pararnn
