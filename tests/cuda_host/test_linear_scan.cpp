// The linear recurrence, forward and in reverse, against float64.
#include <cmath>

#include "cuda/scans/linear_scan.cuh"
#include "cuda/scans/linear_steps.cuh"
#include "host_tests.h"
#include "shapes.h"

namespace pararnn {
namespace {

using fibers::Order;

struct LinearProblem {
  int64_t states, channels;
  std::vector<int32_t> bounds{0};
  std::vector<float> jacobian, source, entry;

  LinearProblem(int64_t n, int64_t d, const std::vector<int64_t>& lengths, Random& random)
      : states(n), channels(d) {
    for (const int64_t length : lengths) bounds.push_back(bounds.back() + int32_t(length));
    jacobian = random.numbers(bounds.back() * n * n * d, 1.0f / std::sqrt(float(n)));
    source = random.numbers(bounds.back() * n * d);
    entry = random.numbers(count() * n * d);
  }

  int64_t count() const { return int64_t(bounds.size()) - 1; }
};

struct LinearResult {
  std::vector<double> x, exit;
};

// Of one channel, `v` going from entry to exit.
void reference_channel(const LinearProblem& problem, bool reverse, int64_t s, int64_t d,
                       std::vector<double>& v, std::vector<double>& x) {
  const int64_t n = problem.states, begin = problem.bounds[size_t(s)], end = problem.bounds[size_t(s) + 1];
  for (int64_t step = begin; step < end; ++step) {
    const int64_t t = reverse ? begin + end - 1 - step : step;
    const auto place = [&](int64_t row, int64_t rows) {
      return size_t((t * rows + row) * problem.channels + d);
    };
    const auto jacobian = [&](int64_t i, int64_t j) {
      return double(problem.jacobian[place(reverse ? j * n + i : i * n + j, n * n)]);
    };
    const auto source = [&](int64_t i) { return double(problem.source[place(i, n)]); };
    std::vector<double> from = v;
    for (int64_t i = 0; i < n; ++i) {
      if (reverse) from[size_t(i)] += source(i);
    }
    for (int64_t i = 0; i < n; ++i) {
      double& to = v[size_t(i)] = reverse ? 0.0 : source(i);
      for (int64_t j = 0; j < n; ++j) to += jacobian(i, j) * from[size_t(j)];
      x[place(i, n)] = reverse ? from[size_t(i)] : to;
    }
  }
}

LinearResult reference(const LinearProblem& problem, bool reverse, bool has_entry) {
  LinearResult out{std::vector<double>(problem.source.size()), std::vector<double>(problem.entry.size())};
  for (int64_t s = 0; s < problem.count(); ++s) {
    for (int64_t d = 0; d < problem.channels; ++d) {
      const auto end = [&](int64_t n) { return size_t((s * problem.states + n) * problem.channels + d); };
      std::vector<double> v(size_t(problem.states), 0.0);
      for (int64_t n = 0; n < problem.states && has_entry; ++n) v[size_t(n)] = double(problem.entry[end(n)]);
      reference_channel(problem, reverse, s, d, v, out.x);
      for (int64_t n = 0; n < problem.states; ++n) out.exit[end(n)] = v[size_t(n)];
    }
  }
  return out;
}

// By a kernel with so many blocks a sequence.
template <class Kernel>
void check(Checks& checks, const LinearProblem& problem, bool reverse, bool has_entry, int threads,
           Order order, int64_t groups, const Kernel& kernel) {
  checks.about("linear_scan, %lld states, %s, %d threads, order %d, %lld channels, %lld steps",
               static_cast<long long>(problem.states), reverse ? "reverse" : "forward", threads, int(order),
               static_cast<long long>(problem.channels), static_cast<long long>(problem.bounds.back()));
  Exact<int32_t> bounds(problem.bounds);
  Exact<float> jacobian(problem.jacobian), source(problem.source), entry(problem.entry);
  Exact<float> x(source.size()), exit(entry.size());
  const LinearScanParams p{problem.states,
                           {problem.count(), bounds.data(), nullptr, nullptr},
                           problem.channels,
                           reverse,
                           jacobian.data(),
                           source.data(),
                           has_entry ? entry.data() : nullptr,
                           x.data(),
                           exit.data()};
  fibers::run_grid(problem.count() * groups, threads, order, [&] { kernel(p); });
  const LinearResult want = reference(problem, reverse, has_entry);
  double scale = 1.0;
  for (const double value : want.x) scale = std::max(scale, value < 0 ? -value : value);
  const auto close = [&](const char* what, Exact<float>& got, const std::vector<double>& expected) {
    checks.close(what, got.data(), expected, std::vector<double>(expected.size(), kFloor * scale));
  };
  close("x", x, want.x);
  close("exit", exit, want.exit);
}

template <int kStates, bool kReverse, int kThreads>
void check_scan(Checks& checks, const LinearProblem& problem, Order order, bool has_entry) {
  using namespace PARARNN_ISA;
  check(checks, problem, kReverse, has_entry, kThreads, order, BlockOf<kThreads>::groups(problem.channels),
        [](const LinearScanParams& p) { linear_scan_block<kStates, kReverse, kThreads>(p); });
}

template <int kChannels, bool kReverse, int kThreads>
void check_steps(Checks& checks, const LinearProblem& problem, Order order, bool has_entry) {
  using namespace PARARNN_ISA;
  check(checks, problem, kReverse, has_entry, kThreads, order, step_groups<kChannels>(problem.channels),
        [](const LinearScanParams& p) { linear_steps_block<kChannels, kReverse, kThreads>(p); });
}

template <int kStates>
void check_scan_both_ways(Checks& checks, const LinearProblem& problem) {
  check_scan<kStates, false, 64>(checks, problem, Order::kShuffled, true);
  check_scan<kStates, true, 64>(checks, problem, Order::kShuffled, true);
  check_scan<kStates, false, 128>(checks, problem, Order::kDescending, false);
  check_scan<kStates, true, 128>(checks, problem, Order::kAscending, false);
}

template <int kChannels>
void check_steps_both_ways(Checks& checks, const LinearProblem& problem) {
  check_steps<kChannels, false, 64>(checks, problem, Order::kShuffled, true);
  check_steps<kChannels, true, 64>(checks, problem, Order::kShuffled, true);
  check_steps<kChannels, false, 128>(checks, problem, Order::kDescending, false);
  check_steps<kChannels, true, 128>(checks, problem, Order::kAscending, false);
  check_steps<kChannels, false, 64>(checks, problem, Order::kAscending, true);
  check_steps<kChannels, true, 64>(checks, problem, Order::kDescending, true);
}

const std::vector<int64_t> kRagged{0, 1, 2, 33, 0, 7, 130};

}  // namespace

void test_linear_scan(Checks& checks) {
  Random random(33);
  const std::vector<std::vector<int64_t>> batches{{1}, kRagged, {127, 128, 129}, {700}};
  for (const std::vector<int64_t>& lengths : batches) {
    for (const int64_t channels : {1, 2, 5}) {
      check_scan_both_ways<1>(checks, LinearProblem(1, channels, lengths, random));
      check_scan_both_ways<2>(checks, LinearProblem(2, channels, lengths, random));
      check_scan_both_ways<3>(checks, LinearProblem(3, channels, lengths, random));
      check_scan_both_ways<4>(checks, LinearProblem(4, channels, lengths, random));
    }
  }
}

void test_linear_steps(Checks& checks) {
  Random random(34);
  // Fewer rows than a block has at once, and more; fewer terms than lanes, and more.
  for (const int64_t states : {1, 5, 17}) {
    for (const int64_t channels : {2, 8, 11})
      check_steps_both_ways<8>(checks, LinearProblem(states, channels, kRagged, random));
    check_steps_both_ways<1>(checks, LinearProblem(states, 1, kRagged, random));
  }
  check_steps_both_ways<1>(checks, LinearProblem(70, 1, {3, 0, 5}, random));
  check_steps_both_ways<8>(checks, LinearProblem(3, 5, {0}, random));
}

}  // namespace pararnn
