// Options of requests, a slot for each kind of them.
#pragma once

#include <cstdint>
#include <vector>

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
  }

  int64_t slots() const { return int64_t(numbers.size()); }
};

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
