// Draws on a GPU: the ids, counters and counts are those of the CPU's kernel, to the bit.
#include <cmath>
#include <limits>

#include "cuda/sampling/sample.cuh"
#include "exact_buffer.h"
#include "host_tests.h"
#include "random.h"
#include "sample_table.h"

namespace pararnn {

namespace generic {
void sample(const SampleParams& params);
}

namespace {

constexpr int64_t kRowsOfLogits = 7;

// Every slot draws from some row.
class Draws {
 public:
  Draws(const SampleTable& table, const std::vector<float>& logits)
      : table_(table),
        logits_(logits),
        rows_(table.slots()),
        tokens_(table.slots()),
        slots_(table.slots()),
        numbers_(table.numbers),
        counters_(table.counters),
        seen_(table.seen),
        counts_(table.counts),
        bias_ids_(table.bias_ids),
        bias_bounds_(table.bias_bounds),
        biases_(table.biases),
        masked_(table.slots()),
        masks_(table.masks) {
    fill_flags(masked_, table.masked);
    for (int64_t i = 0; i < table.slots(); ++i) {
      slots_[i] = int32_t(table.slots() - 1 - i);
      rows_[i] = i * 5 % kRowsOfLogits;
    }
  }

  SampleParams params() {
    return {table_.slots(),      table_.vocab,     logits_.data(), rows_.data(),           slots_.data(),
            numbers_.data(),     counters_.data(), seen_.data(),   (table_.vocab + 7) / 8, counts_.data(),
            bias_bounds_.data(), bias_ids_.data(), biases_.data(), masked_.data(),         masks_.data(),
            table_.mask_words(), tokens_.data()};
  }

  void check_same(Checks& checks, Draws& other) {
    checks.same_bits("ids", tokens_.data(), other.tokens_.data(), tokens_.bytes());
    checks.same_bits("counters", counters_.data(), other.counters_.data(), counters_.bytes());
    checks.same_bits("counts", counts_.data(), other.counts_.data(), counts_.bytes());
  }

  std::vector<int64_t> tokens() { return tokens_.copy(); }

 private:
  const SampleTable& table_;
  Exact<float> logits_;
  Exact<int64_t> rows_, tokens_;
  Exact<int32_t> slots_;
  Exact<SampleNumbers> numbers_;
  Exact<SampleCounters> counters_;
  Exact<uint8_t> seen_;
  Exact<int32_t> counts_, bias_ids_;
  Exact<int64_t> bias_bounds_;
  Exact<double> biases_;
  Exact<bool> masked_;
  Exact<int32_t> masks_;
};

template <int kThreads>
void run(const SampleParams& p, fibers::Order order) {
  fibers::run_grid(p.rows, kThreads, order, [&] { PARARNN_ISA::sample_block<kThreads>(p); });
}

// Also cuts through many of one score, and temperatures at which all or nothing but the best weighs nothing.
SampleTable many_kinds(int64_t vocab, Random& random) {
  SampleTable table = all_kinds(vocab, random);
  for (const double temperature : {1e-300, 1e-3, 1e3, 1e300}) {
    table.add({temperature, 1.0, 0.0, 1.0, 0.0, 0.0}, 0, false, random);
    table.add({temperature, 0.9, 0.0, 1.0, 0.0, 0.0}, 0, false, random);
    table.add({temperature, 0.5, 0.2, 1.3, 0.0, 0.0}, vocab / 2 + 1, true, random);
    table.add({temperature, 1.0, 1.0, 1.0, 0.0, 0.0}, 3, false, random);
  }
  table.add({1.0, 0.0, 0.0, 1.0, 0.0, 0.0}, 0, false, random);
  table.add({1.0, 1e-9, 0.0, 1.0, 0.0, 0.0}, 0, false, random);
  table.add({1.0, 1.0 - 1e-16, 0.0, 1.0, 0.0, 0.0}, vocab - 1, false, random);
  return table;
}

void check(Checks& checks, const char* what, int64_t vocab, const std::vector<float>& logits,
           Random& random) {
  checks.about("sample, %lld ids, %s", static_cast<long long>(vocab), what);
  const SampleTable table = many_kinds(vocab, random);
  Draws want(table, logits);
  generic::sample(want.params());
  for (const fibers::Order order : kOrders) {
    Draws got(table, logits);
    run<64>(got.params(), order);
    got.check_same(checks, want);
  }
  Draws got(table, logits);
  run<128>(got.params(), fibers::Order::kShuffled);
  got.check_same(checks, want);
}

// To whole multiples: many are the same.
std::vector<float> rounded(std::vector<float> numbers, float to) {
  for (float& each : numbers) each = std::round(each / to) * to;
  return numbers;
}

void check_bad_rows(Checks& checks, Random& random) {
  constexpr int64_t kVocab = 70;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> logits = random.numbers(kRowsOfLogits * kVocab, 5.0f);
  const auto row = [&](int64_t i) { return logits.begin() + i * kVocab; };
  row(1)[69] = std::nanf("");
  row(2)[0] = kInfinity;
  std::fill(row(3), row(4), -kInfinity);
  std::fill(row(4) + 1, row(5), -kInfinity);
  row(5)[3] = -kInfinity;
  check(checks, "some of them no numbers", kVocab, logits, random);

  const SampleTable table = many_kinds(kVocab, random);
  Draws got(table, logits);
  run<64>(got.params(), fibers::Order::kShuffled);
  const std::vector<int64_t> tokens = got.tokens();
  bool refused = true;
  for (int64_t i = 0; i < table.slots(); ++i) {
    const int64_t source = i * 5 % kRowsOfLogits, slot = table.slots() - 1 - i;
    bool drawable = false;
    for (int64_t id = 0; id < kVocab; ++id)
      drawable = drawable || (table.allows(slot, id) && row(source)[id] > -kInfinity);
    refused = refused && (tokens[size_t(i)] < 0) == (source == 1 || source == 2 || !drawable);
  }
  checks.that(refused,
              "rows that are not finite or have no score that a mask allows, and no others, give -1");
}

// Lanes add to one place, each its own numbers: words overflow into one another in every order.
void check_wide_sums(Checks& checks) {
  checks.about("sums of two words");
  for (const fibers::Order order : kOrders) {
    PARARNN_ISA::WideSum sum{0, 0};
    int64_t wanted = 0;
    const auto value_of = [](int64_t thread, int64_t i) {
      return i % 3 == 0 ? int64_t(0xffffffff) : (int64_t(1) << (thread + i) % 43) - i % 2;
    };
    for (int64_t thread = 0; thread < 64; ++thread) {
      for (int64_t i = 0; i < 50; ++i) wanted += value_of(thread, i);
    }
    fibers::run_grid(1, 64, order, [&] {
      const int64_t thread = PARARNN_ISA::thread_index();
      for (int64_t i = 0; i < 50; ++i) {
        sum.add(value_of(thread, i));
        if (i % 7 == 0) PARARNN_ISA::sync_block();
      }
    });
    checks.that(sum.value() == wanted, "a sum of two words is that of 64 bits");
  }
}

}  // namespace

void test_sample(Checks& checks) {
  check_wide_sums(checks);
  Random random(53);
  for (const int64_t vocab : {1, 2, 65, 700}) {
    check(checks, "spread", vocab, random.numbers(kRowsOfLogits * vocab, 8.0f), random);
    check(checks, "close", vocab, random.numbers(kRowsOfLogits * vocab, 1e-3f), random);
    check(checks, "many the same", vocab, rounded(random.numbers(kRowsOfLogits * vocab, 2.0f), 1.0f), random);
    check(checks, "all the same", vocab, std::vector<float>(size_t(kRowsOfLogits * vocab), -0.0f), random);
  }
  check_bad_rows(checks, random);
}

}  // namespace pararnn
