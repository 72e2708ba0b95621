// Backward recurrence: one reverse pass over time for one sequence and one vector of channels. The step is
// evaluated again on dual numbers, whose partials are all that the chain rule needs.
#include "cpu/simd/cell_vectors.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

template <class Cell>
struct Gradients {
  Vec state[Cell::kStates];
  Vec bx[Cell::kGates];
  Vec parameters[Cell::kRecurrent + Cell::kPeepholes + 1];  // the last one is never read
};

// Sum over the new states of grad[n] * d state[n] / d variable I.
template <int I, class Cell, class Out>
PARARNN_HD Vec pull_back(const Out& out, const Vec (&grad)[Cell::kStates]) {
  Vec sum(0.0f);
  const auto& first = out.get(Index<0>());
  if constexpr (kDependsOn<I, decltype(first)>) sum = grad[0] * partial<I>(first);
  if constexpr (Cell::kStates == 2) {
    const auto& second = out.get(Index<1>());
    if constexpr (kDependsOn<I, decltype(second)>) sum = madd(grad[1], partial<I>(second), sum);
  }
  return sum;
}

template <int I, class Cell, class Out>
PARARNN_HD void pull_back_all(Gradients<Cell>& to, const Out& out, const Vec (&grad)[Cell::kStates]) {
  using Id = Variables<Cell>;
  if constexpr (I < Id::kCount) {
    const Vec pulled = pull_back<I, Cell>(out, grad);
    if constexpr (I < Id::kBx) {
      to.state[I] = pulled;
    } else if constexpr (I < Id::kA) {
      to.bx[I - Id::kBx] = pulled;
    } else {
      to.parameters[I - Id::kA] = to.parameters[I - Id::kA] + pulled;
    }
    pull_back_all<I + 1, Cell>(to, out, grad);
  }
}

template <class Cell>
struct Sweep {
  const RecurrenceBackwardParams& p;
  int64_t channel;
  int64_t count;
  StepValues<Cell, Vec> values;
  Gradients<Cell> grads;

  const float* states_row(const float* base, int64_t row) const {
    return base + row * Cell::kStates * p.channels + channel;
  }

  void step(int64_t t, const float* previous) {
    load_rows(values.state, Cell::kStates, previous, p.channels, count);
    load_rows(values.bx, Cell::kGates, p.bx + t * Cell::kGates * p.channels + channel, p.channels, count);
    Vec grad[Cell::kStates];
    load_rows(grad, Cell::kStates, states_row(p.grad_states, t), p.channels, count);
    for (int n = 0; n < Cell::kStates; ++n) grad[n] = grad[n] + grads.state[n];
    pull_back_all<0, Cell>(grads, Cell::step(GradientInput<Cell, Vec>{values}), grad);
    store_rows(grads.bx, Cell::kGates, p.grad_bx + t * Cell::kGates * p.channels + channel, p.channels,
               count);
  }
};

template <class Cell>
void run_block(const RecurrenceBackwardParams& p, int64_t s, int64_t channel) {
  const int64_t begin = p.sequences.cu_seqlens[s], end = p.sequences.cu_seqlens[s + 1];
  const int64_t count = smaller(kLanes, p.channels - channel);
  Sweep<Cell> sweep{p, channel, count, {}, {}};
  for (Vec& grad : sweep.grads.state) grad = Vec(0.0f);
  for (Vec& grad : sweep.grads.parameters) grad = Vec(0.0f);
  load_parameters<Cell>(sweep.values, p.a + channel, p.c == nullptr ? nullptr : p.c + channel, p.channels,
                        count);
  for (int64_t t = end - 1; t >= begin; --t) {
    const bool first = t == begin;
    sweep.step(t, first ? sweep.states_row(p.initial_state, s) : sweep.states_row(p.states, t - 1));
  }
  constexpr int kParameters = Cell::kRecurrent + Cell::kPeepholes;
  float* const sums = p.grad_parameters + s * kParameters * p.channels + channel;
  store_rows(sweep.grads.parameters, kParameters, sums, p.channels, count);
  float* const initial = p.grad_initial_state + s * Cell::kStates * p.channels + channel;
  store_rows(sweep.grads.state, Cell::kStates, initial, p.channels, count);
}

}  // namespace

void recurrence_backward(const RecurrenceBackwardParams& p) {
  const int64_t blocks = ceil_div(p.channels, kLanes);
  parallel(p.sequences.count * blocks, [&](int64_t item) {
    const int64_t s = item / blocks, channel = item % blocks * kLanes;
    for_cell(p.cell, [&](auto cell) { run_block<decltype(cell)>(p, s, channel); });
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
