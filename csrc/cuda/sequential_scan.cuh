// Step by step: a thread has one channel of one sequence, a block neighbouring channels, so that every load
// and store of a warp is one piece of memory. The best there is where sequences x channels fill the chip.
#pragma once

#include "channel.cuh"
#include "widen.h"

namespace pararnn {
namespace PARARNN_ISA {

// The steps whose inputs are under way while as many others are computed: a load takes about as long as
// four steps, each of which waits for the one before.
constexpr int kAhead = 4;

template <class Scalar>
struct InputsAhead {
  Scalar rows[kAhead][3];

  PARARNN_DEVICE void load(const ScanParams& p, int64_t first, int64_t end, int64_t channel) {
    const Scalar* const bx = static_cast<const Scalar*>(p.bx);
    PARARNN_UNROLL
    for (int k = 0; k < kAhead; ++k) {
      PARARNN_UNROLL
      for (int i = 0; i < 3 && first + k < end; ++i)
        rows[k][i] = bx[((first + k) * 3 + i) * p.channels + channel];
    }
  }
};

template <class Cell, class Scalar>
PARARNN_DEVICE void scan_channel(const ScanParams& p, const Span& span, int64_t channel) {
  const Bias bias(p, channel);
  StepValues<Cell, float> values;
  load_parameters<Cell>(values, p, channel);
  load_state<Cell>(values.state, p, span, channel);
  InputsAhead<Scalar> next;
  next.load(p, span.begin, span.end, channel);
  for (int64_t first = span.begin; first < span.end; first += kAhead) {
    const InputsAhead<Scalar> inputs = next;
    next.load(p, first + kAhead, span.end, channel);
    PARARNN_UNROLL
    for (int k = 0; k < kAhead; ++k) {
      if (first + k >= span.end) continue;
      PARARNN_UNROLL
      for (int i = 0; i < 3; ++i) values.bx[i] = bias.plus(i, widen(inputs.rows[k][i]));
      advance<Cell>(values);
      PARARNN_UNROLL
      for (int n = 0; n < Cell::kStates; ++n) store_output<Cell>(values.state[n], n, p, first + k, channel);
    }
  }
  store_final_state<Cell>(values.state, p, span, channel);
}

template <class Cell>
PARARNN_DEVICE void clear_channel(const ScanParams& p, const Span& span, int64_t channel) {
  for (int64_t t = span.begin; t < span.end; ++t) {
    PARARNN_UNROLL
    for (int n = 0; n < Cell::kStates; ++n) store_output<Cell>(0.0f, n, p, t, channel);
  }
}

template <int kThreads>
int64_t sequential_scan_blocks(const ScanParams& p) {
  return p.sequences.count * ((p.channels + kThreads - 1) / kThreads);
}

template <class Cell, class Scalar, int kThreads>
PARARNN_DEVICE void sequential_scan_block(const ScanParams& p) {
  const int64_t groups = (p.channels + kThreads - 1) / kThreads;
  const int64_t channel = block_index() % groups * kThreads + thread_index();
  const Span span(p.sequences, block_index() / groups);
  if (channel >= p.channels) return;
  if (span.slot == kPadSlotId) {
    clear_channel<Cell>(p, span, channel);
  } else {
    scan_channel<Cell, Scalar>(p, span, channel);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
