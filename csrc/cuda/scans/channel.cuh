// One channel of one sequence: where it lies, its parameters, its step.
#pragma once

#include "cuda/block.cuh"
#include "math/cell_math.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

struct Span {
  int64_t begin;
  int64_t end;
  int64_t slot;
  bool goes_on;

  PARARNN_DEVICE Span(const Sequences& sequences, int64_t s)
      : begin(sequences.cu_seqlens[s]),
        end(sequences.cu_seqlens[s + 1]),
        slot(sequences.slots == nullptr ? s : sequences.slots[s]),
        goes_on(sequences.has_initial_state == nullptr || sequences.has_initial_state[s]) {}
};

template <class Cell>
PARARNN_DEVICE void load_parameters(StepValues<Cell, float>& values, const RecurrenceParams& p,
                                    int64_t channel) {
  PARARNN_UNROLL
  for (int i = 0; i < Cell::kRecurrent; ++i) values.a[i] = p.a[i * p.channels + channel];
  PARARNN_UNROLL
  for (int i = 0; i < Cell::kPeepholes; ++i) values.peephole[i] = p.c[i * p.channels + channel];
}

// What is added to bx of this channel, as it is read.
template <class Cell>
struct Bias {
  float of[Cell::kGates];

  PARARNN_DEVICE Bias(const RecurrenceParams& p, int64_t channel) {
    PARARNN_UNROLL
    for (int i = 0; i < Cell::kGates; ++i) {
      of[i] = p.bias != nullptr && channel < p.channels ? p.bias[i * p.channels + channel] : 0.0f;
    }
  }

  PARARNN_DEVICE float plus(int row, float bx) const { return of[row] + bx; }
};

template <class Cell>
PARARNN_DEVICE void load_state(float (&state)[Cell::kStates], const RecurrenceParams& p, const Span& span,
                               int64_t channel) {
  PARARNN_UNROLL
  for (int n = 0; n < Cell::kStates; ++n) {
    state[n] = span.goes_on ? p.initial_state[span.slot * p.slot_stride + n * p.row_stride + channel] : 0.0f;
  }
}

template <class Cell>
PARARNN_DEVICE void store_final_state(const float (&state)[Cell::kStates], const RecurrenceParams& p,
                                      const Span& span, int64_t channel) {
  if (p.final_state == nullptr) return;
  PARARNN_UNROLL
  for (int n = 0; n < Cell::kStates; ++n)
    p.final_state[span.slot * p.slot_stride + n * p.row_stride + channel] = state[n];
}

// What is asked for of a state; y begins with `row` numbers of the steps before.
template <class Cell>
PARARNN_DEVICE void store_output(float value, int n, const RecurrenceParams& p, int64_t row,
                                 int64_t channel) {
  if (p.states != nullptr) p.states[row * Cell::kStates + n * p.channels + channel] = value;
  if (p.y != nullptr && n == Cell::kStates - 1) p.y[row + channel] = value;
}

template <class Cell>
PARARNN_DEVICE void advance(StepValues<Cell, float>& values) {
  const auto next = Cell::step(PlainInput<Cell, float>{values});
  values.state[0] = next.get(Index<0>());
  if constexpr (Cell::kStates == 2) values.state[1] = next.get(Index<1>());
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
