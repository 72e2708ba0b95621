// A linear recurrence over given Jacobians, forward or in reverse, in the tiles of tile.cuh.
#pragma once

#include "cuda/scans/warp_scan.cuh"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// Whether the next tile is on its way while one is solved. With four states both together are more than the
// registers of a thread, and other blocks have to fill the time.
template <int kStates>
constexpr bool kLoadsAhead = kStates < 4;

template <int kStates, class Shape>
struct LinearTiles {
  Tile<kStates * kStates, Shape> jacobian;
  Tile<kStates, Shape> source;
};

template <int kStates>
struct LinearStep {
  Affine<float, kStates> map;
  Vector<kStates> source;
};

// Step k of the lane. Past the end it changes nothing, so that the last lane ends with the end.
template <bool kReverse, int kStates, class Shape>
PARARNN_DEVICE LinearStep<kStates> read_step(const LinearTiles<kStates, Shape>& tiles, int k, bool exists) {
  const int channel = Shape::channel(), lane = Shape::lane();
  LinearStep<kStates> step;
  PARARNN_UNROLL
  for (int n = 0; n < kStates; ++n) {
    step.source.of[n] = tiles.source.at[n][channel][lane].step[k];
    PARARNN_UNROLL
    for (int m = 0; m < kStates; ++m) {
      const int row = kReverse ? m * kStates + n : n * kStates + m;
      const float value = tiles.jacobian.at[row][channel][lane].step[k];
      step.map.matrix[n][m] = exists ? value : n == m ? 1.0f : 0.0f;
    }
    step.map.offset[n] = kReverse ? 0.0f : step.source.of[n];
  }
  if constexpr (kReverse) {
    // v -> J^T (source + v)
    float offset[kStates];
    apply(step.map, step.source.of, offset);
    PARARNN_UNROLL
    for (int n = 0; n < kStates; ++n) step.map.offset[n] = offset[n];
  }
  return step;
}

// Replaces the sources of the warp's channel by x, and entry by what the next tile is entered with.
template <bool kReverse, int kStates, class Shape>
PARARNN_DEVICE void solve_tile(LinearTiles<kStates, Shape>& tiles, int count, Vector<kStates>& entry) {
  const int channel = Shape::channel(), lane = Shape::lane();
  LinearStep<kStates> steps[kSteps];
  Affine<float, kStates> maps[kSteps];
  PARARNN_UNROLL
  for (int k = 0; k < kSteps; ++k) {
    steps[k] = read_step<kReverse>(tiles, k, lane * kSteps + k < count);
    maps[k] = steps[k].map;
  }
  Vector<kStates> carried = enter(maps, entry);
  PARARNN_UNROLL
  for (int k = 0; k < kSteps; ++k) {
    const Vector<kStates> before = carried;
    apply(maps[k], before.of, carried.of);
    PARARNN_UNROLL
    for (int n = 0; n < kStates; ++n) {
      tiles.source.at[n][channel][lane].step[k] =
          kReverse ? steps[k].source.of[n] + before.of[n] : carried.of[n];
    }
  }
  entry = shuffle_from(carried, kWarp - 1);
}

template <int kStates, class Shape>
PARARNN_DEVICE void store_tile(Tile<kStates, Shape>& tile, const Carrier<Shape>& carrier, float* to,
                               const Window& window) {
  PARARNN_UNROLL
  for (int n = 0; n < kStates; ++n) {
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      if (!carrier.has(window, k)) continue;
      to[(window.time(carrier.step(k)) * kStates + n) * carrier.channels + carrier.channel] =
          tile.element(n, carrier.local_channel, carrier.step(k));
    }
  }
}

template <int kStates, bool kReverse, int kThreads>
PARARNN_DEVICE void linear_scan_block(const LinearScanParams& p) {
  using Block = BlockOf<kThreads>;
  using Tiles = LinearTiles<kStates, Block>;
  PARARNN_SHARED(Tiles, tiles);
  const int64_t groups = Block::groups(p.channels);
  const int64_t sequence = block_index() / groups;
  const int64_t begin = p.sequences.cu_seqlens[sequence], end = p.sequences.cu_seqlens[sequence + 1];
  const Carrier<Block> carrier(block_index() % groups * Block::kChannels, p.channels);
  const int64_t channel = carrier.channel_of_team();
  const int64_t ends = sequence * kStates * p.channels + channel;

  Vector<kStates> carried{};
  PARARNN_UNROLL
  for (int n = 0; n < kStates; ++n) {
    if (p.entry != nullptr && channel < p.channels) carried.of[n] = p.entry[ends + n * p.channels];
  }
  TileAhead<float, kStates * kStates> next_jacobian;
  TileAhead<float, kStates> next_source;
  const auto load = [&](int64_t tile) {
    const Window window = Window::of(begin, end, tile, Block::kTileSteps, kReverse);
    next_jacobian.load(p.jacobian, carrier, window);
    next_source.load(p.source, carrier, window);
  };
  load(0);
  const int64_t count = Block::tiles(end - begin);
  for (int64_t i = 0; i < count; ++i) {
    const Window window = Window::of(begin, end, i, Block::kTileSteps, kReverse);
    // Needs no barrier before: a thread lays sources down where it alone has read the x of the last tile, and
    // since the last barrier nobody has read Jacobians.
    next_jacobian.lay_down(tiles.jacobian, carrier);
    next_source.lay_down(tiles.source, carrier);
    sync_block();
    if constexpr (kLoadsAhead<kStates>) load(i + 1);
    solve_tile<kReverse>(tiles, int(window.count), carried);
    sync_block();
    store_tile(tiles.source, carrier, p.x, window);
    if constexpr (!kLoadsAhead<kStates>) load(i + 1);
  }
  PARARNN_UNROLL
  for (int n = 0; n < kStates; ++n) {
    if (thread_index() % kWarp == 0 && channel < p.channels) p.exit[ends + n * p.channels] = carried.of[n];
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
