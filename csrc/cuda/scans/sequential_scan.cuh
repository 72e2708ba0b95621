// Step by step: a thread has one channel of one sequence, a block neighbouring channels, so that every load
// and store of a warp is one piece of memory. The best there is where sequences x channels fill the chip.
#pragma once

#include "cuda/scans/channel.cuh"
#include "cuda/widen.h"

namespace pararnn {
namespace PARARNN_ISA {

// The steps whose inputs are under way: a load takes about as long as four steps, each of which waits for the
// one before.
constexpr int kAhead = 4;

// bx of a channel, kAhead steps of it.
template <class Cell, class Scalar>
class InputsAhead {
 public:
  PARARNN_DEVICE InputsAhead(const RecurrenceParams& p, int64_t first, int64_t channel)
      : next_(static_cast<const Scalar*>(p.bx) + first * Cell::kGates * p.channels + channel),
        channels_(p.channels) {}

  PARARNN_DEVICE float of(int k, int row) const { return widen(rows_[k][row]); }

  // Step k of the next kAhead.
  PARARNN_DEVICE void load(int k) {
    PARARNN_UNROLL
    for (int i = 0; i < Cell::kGates; ++i) rows_[k][i] = next_[i * channels_];
    next_ += Cell::kGates * channels_;
  }

 private:
  Scalar rows_[kAhead][Cell::kGates];
  const Scalar* next_;
  int64_t channels_;
};

// What is asked for of the states of a channel, step after step.
template <class Cell>
class Outputs {
 public:
  PARARNN_DEVICE Outputs(const RecurrenceParams& p, int64_t first, int64_t channel)
      : states_(p.states), y_(p.y), channels_(p.channels) {
    if (states_ != nullptr) states_ += first * Cell::kStates * channels_ + channel;
    if (y_ != nullptr) y_ += first * channels_ + channel;
  }

  PARARNN_DEVICE void put(const float (&state)[Cell::kStates]) {
    if (states_ != nullptr) {
      PARARNN_UNROLL
      for (int n = 0; n < Cell::kStates; ++n) states_[n * channels_] = state[n];
      states_ += Cell::kStates * channels_;
    }
    if (y_ != nullptr) {
      *y_ = state[Cell::kStates - 1];
      y_ += channels_;
    }
  }

 private:
  float* states_;
  float* y_;
  int64_t channels_;
};

template <class Cell, class Scalar>
class ChannelScan {
 public:
  using State = float[Cell::kStates];

  PARARNN_DEVICE ChannelScan(const RecurrenceParams& p, const Span& span, int64_t channel)
      : bias_(p, channel), inputs_(p, span.begin, channel), outputs_(p, span.begin, channel) {
    load_parameters<Cell>(values_, p, channel);
    load_state<Cell>(values_.state, p, span, channel);
  }

  // Returns the last state.
  PARARNN_DEVICE const State& run(int steps) {
    PARARNN_UNROLL
    for (int k = 0; k < kAhead; ++k) {
      if (k < steps) inputs_.load(k);
    }
    int left = steps;
    // As long as no step has to ask what is left.
    for (; left >= 2 * kAhead; left -= kAhead) {
      PARARNN_UNROLL
      for (int k = 0; k < kAhead; ++k) step(k, true);
    }
    for (; left > 0; left -= kAhead) {
      PARARNN_UNROLL
      for (int k = 0; k < kAhead; ++k) {
        if (k < left) step(k, kAhead + k < left);
      }
    }
    return values_.state;
  }

 private:
  // The place of its input goes to that of kAhead steps later, where there is one.
  PARARNN_DEVICE void step(int k, bool has_later) {
    PARARNN_UNROLL
    for (int i = 0; i < Cell::kGates; ++i) values_.bx[i] = bias_.plus(i, inputs_.of(k, i));
    if (has_later) inputs_.load(k);
    advance<Cell>(values_);
    outputs_.put(values_.state);
  }

  Bias<Cell> bias_;
  InputsAhead<Cell, Scalar> inputs_;
  Outputs<Cell> outputs_;
  StepValues<Cell, float> values_;
};

template <class Cell>
PARARNN_DEVICE void clear_channel(const RecurrenceParams& p, const Span& span, int64_t channel) {
  const float nothing[Cell::kStates] = {};
  Outputs<Cell> outputs(p, span.begin, channel);
  for (int64_t t = span.begin; t < span.end; ++t) outputs.put(nothing);
}

template <int kThreads>
int64_t sequential_scan_blocks(const RecurrenceParams& p) {
  return p.sequences.count * ((p.channels + kThreads - 1) / kThreads);
}

template <class Cell, class Scalar, int kThreads>
PARARNN_DEVICE void sequential_scan_block(const RecurrenceParams& p) {
  const int64_t groups = (p.channels + kThreads - 1) / kThreads;
  const int64_t channel = block_index() % groups * kThreads + thread_index();
  const Span span(p.sequences, block_index() / groups);
  if (channel >= p.channels) return;
  if (span.slot == kPadSlotId) {
    clear_channel<Cell>(p, span, channel);
  } else {
    ChannelScan<Cell, Scalar> scan(p, span, channel);
    store_final_state<Cell>(scan.run(int(span.end - span.begin)), p, span, channel);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
