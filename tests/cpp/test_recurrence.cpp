// The forward recurrence: within 1e-5 of float64, the same bits whole and step by step, and nothing touched
// that is not a sequence's own.
#include "cell_reference.h"
#include "random.h"
#include "sequences.h"
#include "tests.h"

namespace pararnn {
namespace {

constexpr double kTolerance = 1e-5;  // the bound of promise P1, for states within [-1, 1]

// Parameters, inputs and a pool of states whose rows stand apart.
struct Model {
  CellKind cell;
  int64_t channels;
  int64_t states = states_of(cell);
  int64_t row_stride = channels + 3;
  int64_t slot_stride = states * row_stride + 5;
  std::vector<float> bx, a, c, pool;

  Model(CellKind kind, int64_t width, int64_t tokens, Random& random)
      : cell(kind),
        channels(width),
        bx(random.numbers(tokens * gates_of(kind) * width, 2.0f)),
        a(random.numbers(recurrent_of(kind) * width, 0.5f)),
        c(random.numbers(peepholes_of(kind) * width, 0.5f)),
        pool(random.numbers((Ragged::kSlots - 1) * slot_stride + (states - 1) * row_stride + width)) {}
};

struct Result {
  std::vector<float> y, states, pool;
};

Result run(const Level& level, const Model& model, const Ragged& ragged, int64_t first_token,
           bool wants_states) {
  RaggedMemory memory(ragged);
  Exact<float> bx(std::vector<float>(
      model.bx.begin() + first_token * gates_of(model.cell) * model.channels,
      model.bx.begin() + (first_token + ragged.tokens()) * gates_of(model.cell) * model.channels));
  Exact<float> a(model.a), c(model.c), pool(model.pool), y(ragged.tokens() * model.channels);
  Exact<float> states(wants_states ? ragged.tokens() * model.states * model.channels : 0);
  level.recurrence({model.cell, memory.in_slots(), model.channels, DType::kFloat32, bx.data(), nullptr,
                    a.data(), model.c.empty() ? nullptr : c.data(), pool.data(), pool.data(),
                    model.slot_stride, model.row_stride, wants_states ? states.data() : nullptr, y.data()});
  return {y.copy(), states.copy(), pool.copy()};
}

struct Expected {
  std::vector<double> y, pool;
};

Expected expected(const Model& model, const Ragged& ragged) {
  Expected out{std::vector<double>(size_t(ragged.tokens() * model.channels), 0.0),
               std::vector<double>(model.pool.begin(), model.pool.end())};
  const int64_t gates = gates_of(model.cell);
  for (int64_t s = 0; s < ragged.count(); ++s) {
    if (ragged.slots[size_t(s)] == kPadSlotId) continue;
    for (int64_t d = 0; d < model.channels; ++d) {
      double state[kMostRows] = {}, a[kMostRows], c[kMostRows] = {};
      const auto place = [&](int64_t n) {
        return size_t(ragged.slots[size_t(s)] * model.slot_stride + n * model.row_stride + d);
      };
      for (int64_t n = 0; n < model.states && ragged.held[size_t(s)]; ++n)
        state[n] = double(model.pool[place(n)]);
      for (int64_t i = 0; i < recurrent_of(model.cell); ++i)
        a[i] = double(model.a[size_t(i * model.channels + d)]);
      for (int64_t i = 0; i < peepholes_of(model.cell); ++i)
        c[i] = double(model.c[size_t(i * model.channels + d)]);
      for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
        double bx[kMostRows];
        for (int64_t i = 0; i < gates; ++i)
          bx[i] = double(model.bx[size_t((t * gates + i) * model.channels + d)]);
        reference_step(model.cell, bx, a, c, state);
        out.y[size_t(t * model.channels + d)] = state[model.states - 1];
      }
      for (int64_t n = 0; n < model.states; ++n) out.pool[place(n)] = state[n];
    }
  }
  return out;
}

void check_values(const Level& level, Checks& checks, const Model& model, const Ragged& ragged) {
  const Result got = run(level, model, ragged, 0, true);
  const Expected want = expected(model, ragged);
  checks.close("y", got.y.data(), want.y, std::vector<double>(want.y.size(), kTolerance));
  checks.close("states of the pool", got.pool.data(), want.pool,
               std::vector<double>(want.pool.size(), kTolerance));
  bool equal = true;
  for (int64_t s = 0; s < ragged.count(); ++s) {
    if (ragged.slots[size_t(s)] == kPadSlotId) continue;
    for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
      const float* const last = got.states.data() + ((t + 1) * model.states - 1) * model.channels;
      equal = equal && std::memcmp(last, got.y.data() + t * model.channels, size_t(model.channels) * 4) == 0;
    }
  }
  checks.that(equal, "y is the last of the states");
  const Result without = run(level, model, ragged, 0, false);
  checks.same_bits("y without states", without.y.data(), got.y.data(), int64_t(got.y.size()) * 4);
}

// Token by token, alone: what the whole gave.
void check_steps(const Level& level, Checks& checks, Model model) {
  Ragged whole, one;
  whole.lengths = {11};
  whole.slots = one.slots = {2};
  whole.held = one.held = {1};
  whole.bounds = {0, 11};
  one.lengths = {1};
  one.bounds = {0, 1};
  const Result want = run(level, model, whole, 0, false);
  for (int64_t t = 0; t < 11; ++t) {
    const Result step = run(level, model, one, t, false);
    checks.same_bits("a step", step.y.data(), want.y.data() + t * model.channels, model.channels * 4);
    model.pool = step.pool;
  }
  checks.same_bits("the final state", model.pool.data(), want.pool.data(), int64_t(want.pool.size()) * 4);
}

}  // namespace

void test_recurrence(const Level& level, Checks& checks) {
  Random random(5);
  for (const CellKind cell : kCellKinds) {
    for (const int64_t channels : {1, 3, 4, 15, 16, 17, 63, 65, 130}) {
      checks.about("recurrence at %s, cell %d, %lld channels", level.name.c_str(), int(cell),
                   (long long)channels);
      const Ragged ragged;
      const Model model(cell, channels, ragged.tokens(), random);
      check_values(level, checks, model, ragged);
      check_steps(level, checks, model);
    }
  }
}

}  // namespace pararnn
