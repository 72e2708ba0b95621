// Newton's method for all time: a block has one sequence and a channel for each of its warps, and solves tile
// after tile on the chip, each from the exact end of the one before. bx is read once and states are written
// once. Best where sequences x channels are too few to fill the chip and sequences are long.
#pragma once

#include "newton_channel.cuh"

namespace pararnn {
namespace PARARNN_ISA {

template <class Cell, int kChannels>
PARARNN_DEVICE void store_tile(Tile<3, kChannels>& tile, const Carrier<kChannels>& carrier,
                               const ScanParams& p, const Window& window) {
  PARARNN_UNROLL
  for (int n = 0; n < Cell::kStates; ++n) {
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      if (!carrier.has(window, k)) continue;
      const float h = tile.element(n, carrier.local_channel, carrier.step(k));
      store_output<Cell>(h, n, p, window.time(carrier.step(k)), carrier.channel);
    }
  }
}

template <class Cell, int kChannels>
PARARNN_DEVICE void clear_outputs(const Carrier<kChannels>& carrier, const ScanParams& p, const Span& span) {
  for (int64_t t = span.begin + carrier.first_step; t < span.end; t += kWarp) {
    PARARNN_UNROLL
    for (int n = 0; n < Cell::kStates; ++n) {
      if (carrier.channel < p.channels) store_output<Cell>(0.0f, n, p, t, carrier.channel);
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

template <class Cell, class Scalar, int kThreads>
PARARNN_DEVICE void newton_scan_sequence(Tile<3, kChannelsOf<kThreads>>& tile, const NewtonParams& p,
                                         const Carrier<kChannelsOf<kThreads>>& carrier, int64_t sequence,
                                         const Span& span) {
  const int64_t channel = carrier.channel_of_warp();
  const bool has_channel = channel < p.scan.channels;
  ChannelSolve<Cell, kChannelsOf<kThreads>> solve;
  Outcome outcome;
  if (has_channel) solve.start(p.scan, span, channel);

  const Bias bias(p.scan, carrier.channel);
  const Scalar* const bx = static_cast<const Scalar*>(p.scan.bx);
  const int64_t tiles = tiles_of(span.end - span.begin);
  TileAhead<Scalar, 3> next;
  next.load(bx, carrier, Window::of(span.begin, span.end, 0, false));
  for (int64_t i = 0; i < tiles; ++i) {
    const Window window = Window::of(span.begin, span.end, i, false);
    // Needs no barrier before: a thread lays down where it alone has read the states of the last tile.
    next.lay_down(tile, carrier, [&](int row, float x) { return bias.plus(row, x); });
    sync_block();
    next.load(bx, carrier, Window::of(span.begin, span.end, i + 1, false));
    if (has_channel) solve.solve(tile, int(window.count), p.tolerance, p.max_iterations, outcome);
    sync_block();
    store_tile<Cell>(tile, carrier, p.scan, window);
  }
  // Without a tile there was no barrier since all lanes read the state that one of them writes.
  sync_warp();
  if (has_channel && thread_index() % kWarp == 0)
    store_final_state<Cell>(solve.entry.of, p.scan, span, channel);
  report(p, sequence, outcome);
}

template <class Cell, class Scalar, int kThreads>
PARARNN_DEVICE void newton_scan_block(const NewtonParams& p) {
  constexpr int kChannels = kChannelsOf<kThreads>;
  using BxTile = Tile<3, kChannels>;
  PARARNN_SHARED(BxTile, tile);
  const int64_t groups = channel_groups<kThreads>(p.scan.channels);
  const int64_t sequence = block_index() / groups;
  const Span span(p.scan.sequences, sequence);
  const Carrier<kChannels> carrier(block_index() % groups * kChannels, p.scan.channels);
  if (span.slot == kPadSlotId) {
    clear_outputs<Cell>(carrier, p.scan, span);
  } else {
    newton_scan_sequence<Cell, Scalar, kThreads>(tile, p, carrier, sequence, span);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
