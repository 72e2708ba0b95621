// The linear recurrence, forward and in reverse, against float64.
#include "cuda/linear_scan.cuh"
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
    jacobian = random.numbers(bounds.back() * n * n * d, n == 1 ? 1.0f : 0.7f);
    source = random.numbers(bounds.back() * n * d);
    entry = random.numbers(count() * n * d);
  }

  int64_t count() const { return int64_t(bounds.size()) - 1; }
};

struct LinearResult {
  std::vector<double> x, exit;
};

// Of one channel, `v` going from entry to exit.
void reference_channel(const LinearProblem& problem, bool reverse, int64_t s, int64_t d, double* v,
                       std::vector<double>& x) {
  const int64_t n = problem.states, begin = problem.bounds[size_t(s)], end = problem.bounds[size_t(s) + 1];
  for (int64_t step = begin; step < end; ++step) {
    const int64_t t = reverse ? begin + end - 1 - step : step;
    const auto place = [&](int64_t row, int64_t rows) {
      return size_t((t * rows + row) * problem.channels + d);
    };
    const auto jacobian = [&](int64_t i, int64_t j) {
      return double(problem.jacobian[place(reverse ? j * n + i : i * n + j, n * n)]);
    };
    double from[2] = {}, to[2] = {};
    for (int64_t i = 0; i < n; ++i) from[i] = v[i] + (reverse ? double(problem.source[place(i, n)]) : 0.0);
    for (int64_t i = 0; i < n; ++i) {
      to[i] = reverse ? 0.0 : double(problem.source[place(i, n)]);
      for (int64_t j = 0; j < n; ++j) to[i] += jacobian(i, j) * from[j];
    }
    for (int64_t i = 0; i < n; ++i) {
      x[place(i, n)] = reverse ? from[i] : to[i];
      v[i] = to[i];
    }
  }
}

LinearResult reference(const LinearProblem& problem, bool reverse, bool has_entry) {
  LinearResult out{std::vector<double>(problem.source.size()), std::vector<double>(problem.entry.size())};
  for (int64_t s = 0; s < problem.count(); ++s) {
    for (int64_t d = 0; d < problem.channels; ++d) {
      const auto end = [&](int64_t n) { return size_t((s * problem.states + n) * problem.channels + d); };
      double v[2] = {};
      for (int64_t n = 0; n < problem.states && has_entry; ++n) v[n] = double(problem.entry[end(n)]);
      reference_channel(problem, reverse, s, d, v, out.x);
      for (int64_t n = 0; n < problem.states; ++n) out.exit[end(n)] = v[n];
    }
  }
  return out;
}

template <int kStates, bool kReverse, int kThreads>
void check(Checks& checks, const LinearProblem& problem, Order order, bool has_entry) {
  using namespace PARARNN_ISA;
  checks.about("linear_scan, %d states, %s, %d threads, order %d, %lld channels, %lld steps", kStates,
               kReverse ? "reverse" : "forward", kThreads, int(order),
               static_cast<long long>(problem.channels), static_cast<long long>(problem.bounds.back()));
  Exact<int32_t> bounds(problem.bounds);
  Exact<float> jacobian(problem.jacobian), source(problem.source), entry(problem.entry);
  Exact<float> x(source.size()), exit(entry.size());
  const LinearScanParams p{kStates,
                           {problem.count(), bounds.data(), nullptr, nullptr},
                           problem.channels,
                           kReverse,
                           jacobian.data(),
                           source.data(),
                           has_entry ? entry.data() : nullptr,
                           x.data(),
                           exit.data()};
  fibers::run_grid(problem.count() * channel_groups<kThreads>(problem.channels), kThreads, order,
                   [&] { linear_scan_block<kStates, kReverse, kThreads>(p); });
  const LinearResult want = reference(problem, kReverse, has_entry);
  double scale = 1.0;
  for (const double value : want.x) scale = std::max(scale, value < 0 ? -value : value);
  const auto close = [&](const char* what, Exact<float>& got, const std::vector<double>& expected) {
    checks.close(what, got.data(), expected, std::vector<double>(expected.size(), kFloor * scale));
  };
  close("x", x, want.x);
  close("exit", exit, want.exit);
}

template <int kStates>
void check_both_ways(Checks& checks, const LinearProblem& problem) {
  check<kStates, false, 64>(checks, problem, Order::kShuffled, true);
  check<kStates, true, 64>(checks, problem, Order::kShuffled, true);
  check<kStates, false, 128>(checks, problem, Order::kDescending, false);
  check<kStates, true, 128>(checks, problem, Order::kAscending, false);
}

}  // namespace

void test_linear_scan(Checks& checks) {
  Random random(33);
  const std::vector<std::vector<int64_t>> batches{{1}, {0, 1, 2, 33, 0, 7, 130}, {127, 128, 129}, {700}};
  for (const std::vector<int64_t>& lengths : batches) {
    for (const int64_t channels : {1, 2, 5}) {
      check_both_ways<1>(checks, LinearProblem(1, channels, lengths, random));
      check_both_ways<2>(checks, LinearProblem(2, channels, lengths, random));
    }
  }
}

}  // namespace pararnn
