// Newton's method for all time: a block has one sequence and a channel for each of its teams of warps, and
// solves tile after tile on the chip, each from the exact end of the one before. bx is read once and states
// are written once. Best where sequences x channels are too few to fill the chip and sequences are long.
//
// Teams of more than one warp are for so few channels that even a warp for each leaves the chip idle. Blocks
// that each have a tile, and hand on by looking back what their maps make of a state, would need no such
// channel-wide block. But a tile's maps are those of its last iterate: every update would travel through all
// of a sequence's tiles in flight, at the price of a way through memory from block to block each time, and a
// tile would hold its place on the chip until all before it have converged. In a team an update costs three
// barriers of some 30 cycles beside some 3000 of work, and registers let only 16 warps onto a multiprocessor:
// few teams fill it.
#pragma once

#include "cuda/scans/newton_channel.cuh"

namespace pararnn {
namespace PARARNN_ISA {

template <class Cell, class Shape>
PARARNN_DEVICE void store_tile(Tile<Cell::kGates, Shape>& tile, const Carrier<Shape>& carrier,
                               const RecurrenceParams& p, const Window& window) {
  const int64_t row = window.time(carrier.step(0)) * p.channels;
  PARARNN_UNROLL
  for (int k = 0; k < kSteps; ++k) {
    if (!carrier.has(window, k)) continue;
    PARARNN_UNROLL
    for (int n = 0; n < Cell::kStates; ++n) {
      const float h = tile.element(n, carrier.local_channel, carrier.step(k));
      store_output<Cell>(h, n, p, row + k * (Shape::kLanes * p.channels), carrier.channel);
    }
  }
}

template <class Cell, class Shape>
PARARNN_DEVICE void clear_outputs(const Carrier<Shape>& carrier, const RecurrenceParams& p,
                                  const Span& span) {
  for (int64_t t = span.begin + carrier.first_step; t < span.end; t += Shape::kLanes) {
    PARARNN_UNROLL
    for (int n = 0; n < Cell::kStates; ++n) {
      if (carrier.channel < p.channels) store_output<Cell>(0.0f, n, p, t * p.channels, carrier.channel);
    }
  }
}

PARARNN_DEVICE void report(const NewtonParams& p, int64_t sequence, Outcome outcome) {
  PARARNN_UNROLL
  for (int mask = kWarp / 2; mask > 0; mask /= 2)
    outcome.residual = worse(outcome.residual, shuffle_xor(outcome.residual, mask));
  if (thread_index() % kWarp != 0) return;
  uint32_t bits;
  memcpy(&bits, &outcome.residual, sizeof(bits));
  atomic_max(p.residual + sequence, bits);
  atomic_max(p.iterations + sequence, outcome.iterations);
  atomic_add(p.fallbacks + sequence, outcome.fallbacks);
}

template <class Cell, class Shape>
struct NewtonMemory {
  typename ChannelSolve<Cell, Shape>::BxTile tile;
  typename ChannelSolve<Cell, Shape>::Memory teams;
};

template <class Cell, class Scalar, class Shape>
PARARNN_DEVICE void newton_scan_sequence(NewtonMemory<Cell, Shape>& memory, const NewtonParams& p,
                                         const Carrier<Shape>& carrier, int64_t sequence, const Span& span) {
  using TeamOf = Team<Cell::kStates, Shape>;
  const int64_t channel = carrier.channel_of_team();
  const bool has_channel = channel < p.scan.channels;
  ChannelSolve<Cell, Shape> solve(memory.teams);
  Outcome outcome;
  if (has_channel) solve.start(p.scan, span, channel);

  const Bias<Cell> bias(p.scan, carrier.channel);
  const Scalar* const bx = static_cast<const Scalar*>(p.scan.bx);
  const auto window_of = [&](int64_t i) {
    return Window::of(span.begin, span.end, i, Shape::kTileSteps, false);
  };
  const int64_t tiles = Shape::tiles(span.end - span.begin);
  TileAhead<Scalar, Cell::kGates> next;
  next.load(bx, carrier, window_of(0));
  for (int64_t i = 0; i < tiles; ++i) {
    const Window window = window_of(i);
    // Needs no barrier before: a thread lays down where it alone has read the states of the last tile.
    next.lay_down(memory.tile, carrier, [&](int row, float x) { return bias.plus(row, x); });
    sync_block();
    next.load(bx, carrier, window_of(i + 1));
    if (has_channel || !TeamOf::kIsWarp) {
      const int count = has_channel ? int(window.count) : 0;
      solve.solve(memory.tile, count, p.tolerance, p.max_iterations, outcome);
    }
    sync_block();
    store_tile<Cell>(memory.tile, carrier, p.scan, window);
  }
  // Without a tile there was no barrier since all lanes read the state that one of them writes.
  TeamOf::sync();
  if (has_channel && Shape::lane() == 0) store_final_state<Cell>(solve.entry.of, p.scan, span, channel);
  report(p, sequence, outcome);
}

template <class Cell, class Scalar, class Shape>
PARARNN_DEVICE void newton_scan_block(const NewtonParams& p) {
  using Memory = NewtonMemory<Cell, Shape>;
  PARARNN_SHARED(Memory, memory);
  const int64_t groups = Shape::groups(p.scan.channels);
  const int64_t sequence = block_index() / groups;
  const Span span(p.scan.sequences, sequence);
  const Carrier<Shape> carrier(block_index() % groups * Shape::kChannels, p.scan.channels);
  if (span.slot == kPadSlotId) {
    clear_outputs<Cell>(carrier, p.scan, span);
  } else {
    newton_scan_sequence<Cell, Scalar, Shape>(memory, p, carrier, sequence, span);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
