// Draws and log-probabilities: on memory of exact size, the same at every level and number of threads. What
// they must be is tested against NumPy in tests/kernels/test_sampling.py.
#include <cmath>

#include "exact_buffer.h"
#include "fresh_thread.h"
#include "random.h"
#include "sample_table.h"
#include "tests.h"
#include "thread_count.h"

namespace pararnn {
namespace {

constexpr int64_t kRowsOfLogits = 5;

std::vector<int64_t> draw(const Level& level, const SampleTable& table, const std::vector<float>& logits) {
  Exact<float> its_logits(logits);
  Exact<int64_t> rows(table.slots()), tokens(table.slots());
  Exact<int32_t> slots(table.slots());
  for (int64_t i = 0; i < table.slots(); ++i) {
    slots[i] = int32_t(table.slots() - 1 - i);
    rows[i] = i % kRowsOfLogits;
  }
  Exact<SampleNumbers> numbers(table.numbers);
  Exact<SampleCounters> counters(table.counters);
  Exact<uint8_t> seen(table.seen);
  Exact<int32_t> counts(table.counts), bias_ids(table.bias_ids);
  Exact<int64_t> bias_bounds(table.bias_bounds);
  Exact<double> biases(table.biases);
  Exact<bool> masked(table.slots());
  fill_flags(masked, table.masked);
  Exact<int32_t> masks(table.masks);
  in_fresh_thread([&] {
    level.sample({table.slots(), table.vocab, its_logits.data(), rows.data(), slots.data(), numbers.data(),
                  counters.data(), seen.data(), (table.vocab + 7) / 8, counts.data(), bias_bounds.data(),
                  bias_ids.data(), biases.data(), masked.data(), masks.data(), table.mask_words(),
                  tokens.data()});
  });
  return tokens.copy();
}

void check_draws(const Level& level, Checks& checks, int64_t vocab, const std::vector<float>& logits,
                 Random& random) {
  const SampleTable table = all_kinds(vocab, random);
  const ThreadCount restored;
  const std::vector<int64_t> want = draw(levels().front(), table, logits);
  for (int64_t threads = 1; threads <= 4; ++threads) {
    set_num_threads(threads);
    const std::vector<int64_t> got = draw(level, table, logits);
    checks.same_bits("ids", got.data(), want.data(), table.slots() * 8);
  }
  bool valid = true;
  for (int64_t i = 0; i < table.slots(); ++i) {
    const int64_t id = want[size_t(i)], slot = table.slots() - 1 - i;
    valid = valid && id >= 0 && id < vocab && table.allows(slot, id);
  }
  checks.that(valid, "ids are of the vocabulary and allowed");
}

void check_logprobs(const Level& level, Checks& checks, int64_t vocab, const std::vector<float>& logits) {
  Exact<float> its_logits(logits);
  const int64_t stride = vocab < 20 ? vocab : 20;
  Exact<int64_t> rows(kRowsOfLogits), targets(kRowsOfLogits), tops(kRowsOfLogits),
      top_ids(kRowsOfLogits * stride);
  Exact<double> logprobs(kRowsOfLogits), top_logprobs(kRowsOfLogits * stride);
  Exact<bool> finite(kRowsOfLogits);
  for (int64_t i = 0; i < kRowsOfLogits; ++i) {
    rows[i] = kRowsOfLogits - 1 - i;
    targets[i] = (vocab - 1) * i / kRowsOfLogits;
    tops[i] = i * 5 < stride ? i * 5 : stride;
  }
  in_fresh_thread([&] {
    level.token_logprobs({kRowsOfLogits, vocab, its_logits.data(), rows.data(), targets.data(), tops.data(),
                          stride, finite.data(), logprobs.data(), top_ids.data(), top_logprobs.data()});
  });
  bool close = true, ranked = true;
  for (int64_t i = 0; i < kRowsOfLogits; ++i) {
    const float* const row = logits.data() + rows[i] * vocab;
    double total = 0.0;
    for (int64_t id = 0; id < vocab; ++id) total += std::exp(double(row[id]));
    close = close && finite[i] &&
            std::fabs(logprobs[i] - (double(row[targets[i]]) - std::log(total))) <= 1e-12 * double(vocab);
    for (int64_t rank = 1; rank < tops[i]; ++rank)
      ranked = ranked && top_logprobs[i * stride + rank - 1] >= top_logprobs[i * stride + rank];
    for (int64_t rank = 0; rank < tops[i]; ++rank) {
      const double want = double(row[top_ids[i * stride + rank]]) - std::log(total);
      ranked = ranked && std::fabs(top_logprobs[i * stride + rank] - want) <= 1e-12 * double(vocab);
    }
  }
  checks.that(close, "log-probabilities");
  checks.that(ranked, "the likeliest, in their order");
}

}  // namespace

void test_sample(const Level& level, Checks& checks) {
  Random random(9);
  for (const int64_t vocab : {1, 2, 3, 15, 16, 17, 100, 511, 512, 513, 1025, 5000}) {
    for (const float size : {0.0f, 4.0f, 30.0f}) {
      checks.about("sampling at %s from %lld ids within %g", level.name.c_str(), (long long)vocab,
                   double(size));
      const std::vector<float> logits = random.numbers(kRowsOfLogits * vocab, size);
      check_draws(level, checks, vocab, logits, random);
      check_logprobs(level, checks, vocab, logits);
    }
  }
}

}  // namespace pararnn
