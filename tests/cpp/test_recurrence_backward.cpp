// The backward recurrence against differences of a float64 run: the gradients, along any direction, are how
// fast the loss changes in it.
#include "cell_reference.h"
#include "random.h"
#include "sequences.h"
#include "tests.h"

namespace pararnn {
namespace {

// A point, or a direction: inputs, parameters and initial states.
struct Point {
  std::vector<double> bx, a, c, initial;

  Point moved(const Point& direction, double by) const {
    const auto move = [by](std::vector<double> x, const std::vector<double>& d) {
      for (size_t i = 0; i < x.size(); ++i) x[i] += by * d[i];
      return x;
    };
    return {move(bx, direction.bx), move(a, direction.a), move(c, direction.c),
            move(initial, direction.initial)};
  }
};

struct Problem {
  CellKind cell;
  int64_t channels;
  Ragged ragged;

  int64_t states() const { return states_of(cell); }
  int64_t parameters() const { return recurrent_of(cell) + peepholes_of(cell); }

  Point random_point(Random& random, float size) const {
    const auto numbers = [&](int64_t count) {
      const std::vector<float> x = random.numbers(count, size);
      return std::vector<double>(x.begin(), x.end());
    };
    return {numbers(ragged.tokens() * gates_of(cell) * channels), numbers(recurrent_of(cell) * channels),
            numbers(peepholes_of(cell) * channels), numbers(ragged.count() * states() * channels)};
  }

  // (T, N, D)
  std::vector<double> run(const Point& at) const {
    std::vector<double> out(size_t(ragged.tokens() * states() * channels));
    for (int64_t s = 0; s < ragged.count(); ++s) {
      for (int64_t d = 0; d < channels; ++d) {
        const auto each = [&](const std::vector<double>& from, int64_t row) {
          return from[size_t(row * channels + d)];
        };
        double state[kMostRows] = {}, a[kMostRows], bx[kMostRows], c[kMostRows] = {};
        for (int64_t n = 0; n < states(); ++n) state[n] = each(at.initial, s * states() + n);
        for (int64_t i = 0; i < peepholes_of(cell); ++i) c[i] = each(at.c, i);
        for (int64_t i = 0; i < recurrent_of(cell); ++i) a[i] = each(at.a, i);
        for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
          for (int64_t i = 0; i < gates_of(cell); ++i) bx[i] = each(at.bx, t * gates_of(cell) + i);
          reference_step(cell, bx, a, c, state);
          for (int64_t n = 0; n < states(); ++n) out[size_t((t * states() + n) * channels + d)] = state[n];
        }
      }
    }
    return out;
  }
};

std::vector<float> narrow(const std::vector<double>& x) { return std::vector<float>(x.begin(), x.end()); }

// Sum of x * y, and of its sizes.
struct Dot {
  double sum = 0.0;
  double size = 0.0;

  void add(double x, double y) {
    sum += x * y;
    size += std::fabs(x * y);
  }
};

Dot slope(const Level& level, const Problem& problem, const Point& at, const Point& direction,
          const std::vector<float>& grad) {
  RaggedMemory memory(problem.ragged);
  Exact<float> bx(narrow(at.bx)), a(narrow(at.a)), c(narrow(at.c)), initial(narrow(at.initial));
  Exact<float> states(narrow(problem.run(at))), grad_states(grad);
  Exact<float> grad_bx(bx.size()), grad_initial(initial.size());
  const int64_t row = problem.parameters() * problem.channels;
  Exact<float> grad_parameters(problem.ragged.count() * row);
  level.recurrence_backward({problem.cell, memory.plain(), problem.channels, bx.data(), a.data(),
                             at.c.empty() ? nullptr : c.data(), initial.data(), states.data(),
                             grad_states.data(), grad_bx.data(), grad_initial.data(),
                             grad_parameters.data()});
  Dot dot;
  for (int64_t i = 0; i < grad_bx.size(); ++i) dot.add(double(grad_bx[i]), direction.bx[size_t(i)]);
  for (int64_t i = 0; i < grad_initial.size(); ++i)
    dot.add(double(grad_initial[i]), direction.initial[size_t(i)]);
  for (int64_t i = 0; i < grad_parameters.size(); ++i) {
    const int64_t of_a = recurrent_of(problem.cell) * problem.channels, at_row = i % row;
    dot.add(double(grad_parameters[i]),
            at_row < of_a ? direction.a[size_t(at_row)] : direction.c[size_t(at_row - of_a)]);
  }
  return dot;
}

}  // namespace

void test_recurrence_backward(const Level& level, Checks& checks) {
  Random random(6);
  for (const CellKind cell : kCellKinds) {
    for (const int64_t channels : {1, 3, 8, 15, 16, 17, 40}) {
      checks.about("recurrence_backward at %s, cell %d, %lld channels", level.name.c_str(), int(cell),
                   (long long)channels);
      const Problem problem{cell, channels, Ragged()};
      const Point at = problem.random_point(random, 0.8f);
      const std::vector<float> grad = random.numbers(problem.ragged.tokens() * problem.states() * channels);
      for (int repeat = 0; repeat < 3; ++repeat) {
        const Point direction = problem.random_point(random, 1.0f);
        constexpr double kStep = 1e-5;
        const std::vector<double> after = problem.run(at.moved(direction, kStep));
        const std::vector<double> before = problem.run(at.moved(direction, -kStep));
        double want = 0.0;
        for (size_t i = 0; i < grad.size(); ++i)
          want += double(grad[i]) * (after[i] - before[i]) / (2.0 * kStep);
        const Dot got = slope(level, problem, at, direction, grad);
        checks.that(std::fabs(got.sum - want) <= 1e-5 * got.size + 1e-7, "slope of the loss");
      }
    }
  }
}

}  // namespace pararnn
