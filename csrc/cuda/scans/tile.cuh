// A tile: some steps of some neighbouring channels, on their way between memory and the lanes that solve
// them.
//
// A team of warps, mostly a single one, has a channel and its lanes have the time, four consecutive steps
// each. In memory, though, channels lie side by side. So a block takes as many channels as it has teams: it
// reads rows of that many channels (eight of float32 or sixteen of bfloat16 are 32 bytes, the least that
// memory hands out), lays them down by channel, and a lane finds its four steps as one piece. Teams of one
// warp then iterate each as often as its own channel needs and meet only where a tile begins and ends. One
// quad of padding per channel keeps writes by row and reads by channel off each other's banks.
#pragma once

#include "cuda/block.cuh"
#include "cuda/widen.h"

namespace pararnn {
namespace PARARNN_ISA {

// Steps of a lane.
constexpr int kSteps = 4;

// How a block of so many threads is divided: kTimeWarps warps to a channel.
template <int kSize, int kTimeWarps = 1>
struct BlockOf {
  static constexpr int kThreads = kSize;
  static constexpr int kTeamWarps = kTimeWarps;
  static constexpr int kLanes = kTimeWarps * kWarp;
  static constexpr int kChannels = kThreads / kLanes;
  static constexpr int kTileSteps = kLanes * kSteps;
  static_assert(kChannels * kLanes == kThreads, "a block is a number of whole teams");

  // Of the thread.
  static PARARNN_DEVICE int channel() { return thread_index() / kLanes; }
  static PARARNN_DEVICE int lane() { return thread_index() % kLanes; }

  // Blocks that a sequence takes.
  static PARARNN_HD int64_t groups(int64_t channels) { return (channels + kChannels - 1) / kChannels; }
  static PARARNN_HD int64_t tiles(int64_t steps) { return (steps + kTileSteps - 1) / kTileSteps; }
};

struct alignas(16) Quad {
  float step[kSteps];
};

// [row][channel][lane]
template <int kRows, class Shape>
struct Tile {
  Quad at[kRows][Shape::kChannels][Shape::kLanes + 1];

  PARARNN_DEVICE float& element(int row, int channel, int step) {
    return at[row][channel][step / kSteps].step[step % kSteps];
  }
};

// The steps of a tile, in the order in which a scan takes them.
struct Window {
  int64_t first;
  int64_t count;
  int direction;

  // Window `index` of rows begin .. end, each of so many steps but the last.
  static PARARNN_DEVICE Window of(int64_t begin, int64_t end, int64_t index, int steps, bool reverse) {
    const int64_t before = index * steps, left = end - begin - before;
    return {reverse ? end - 1 - before : begin + before, left < steps ? left : steps, reverse ? -1 : 1};
  }

  PARARNN_DEVICE int64_t time(int step) const { return first + step * direction; }
};

// What a thread moves: one channel, a step of as many as a team has lanes.
template <class Shape>
struct Carrier {
  int local_channel = thread_index() % Shape::kChannels;
  int first_step = thread_index() / Shape::kChannels;
  int64_t channel;
  int64_t channels;

  PARARNN_DEVICE Carrier(int64_t first_channel, int64_t all_channels)
      : channel(first_channel + local_channel), channels(all_channels) {}

  // The channel that the thread's team solves.
  PARARNN_DEVICE int64_t channel_of_team() const { return channel - local_channel + Shape::channel(); }
  PARARNN_DEVICE int step(int k) const { return first_step + k * Shape::kLanes; }
  PARARNN_DEVICE bool has(const Window& window, int k) const {
    return channel < channels && step(k) < window.count;
  }
};

// A thread's share of a tile that is still to be laid down: kRows rows a step of an array (T, kRows, D).
template <class Scalar, int kRows>
struct TileAhead {
  Scalar values[kRows][kSteps];

  // Steps and channels that are not there are 0.
  template <class Shape>
  PARARNN_DEVICE void load(const Scalar* from, const Carrier<Shape>& carrier, const Window& window) {
    int64_t at = window.time(carrier.step(0)) * kRows * carrier.channels + carrier.channel;
    const int64_t stride = int64_t(window.direction) * Shape::kLanes * kRows * carrier.channels;
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      const bool exists = carrier.has(window, k);
      PARARNN_UNROLL
      for (int row = 0; row < kRows; ++row) {
        values[row][k] = Scalar{};
        if (exists) values[row][k] = from[at + row * carrier.channels];
      }
      at += stride;
    }
  }

  // change(row, x): what is laid down for x.
  template <class Shape, class Change>
  PARARNN_DEVICE void lay_down(Tile<kRows, Shape>& tile, const Carrier<Shape>& carrier,
                               const Change& change) const {
    PARARNN_UNROLL
    for (int row = 0; row < kRows; ++row) {
      PARARNN_UNROLL
      for (int k = 0; k < kSteps; ++k)
        tile.element(row, carrier.local_channel, carrier.step(k)) = change(row, widen(values[row][k]));
    }
  }

  template <class Shape>
  PARARNN_DEVICE void lay_down(Tile<kRows, Shape>& tile, const Carrier<Shape>& carrier) const {
    lay_down(tile, carrier, [](int, float x) { return x; });
  }
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
