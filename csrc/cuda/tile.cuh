// A tile: 128 steps of some neighbouring channels, on their way between memory and the lanes that solve them.
//
// A warp has a channel and its lanes have the time, four consecutive steps each. In memory, though, channels
// lie side by side. So a block takes as many channels as it has warps: it reads rows of that many channels
// (eight of float32 or sixteen of bfloat16 are 32 bytes, the least that memory hands out), lays them down by
// channel, and a lane finds its four steps as one piece. Warps then iterate each as often as its own channel
// needs and meet only where a tile begins and ends. One quad of padding per channel keeps writes by row and
// reads by channel off each other's banks.
#pragma once

#include "block.cuh"
#include "widen.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kSteps = 4;
constexpr int kTileSteps = kWarp * kSteps;

template <int kThreads>
constexpr int kChannelsOf = kThreads / kWarp;

// Blocks that a sequence takes.
template <int kThreads>
PARARNN_HD int64_t channel_groups(int64_t channels) {
  return (channels + kChannelsOf<kThreads> - 1) / kChannelsOf<kThreads>;
}

PARARNN_HD int64_t tiles_of(int64_t steps) { return (steps + kTileSteps - 1) / kTileSteps; }

struct alignas(16) Quad {
  float step[kSteps];
};

// [row][channel][lane]
template <int kRows, int kChannels>
struct Tile {
  Quad at[kRows][kChannels][kWarp + 1];

  PARARNN_DEVICE float& element(int row, int channel, int step) {
    return at[row][channel][step / kSteps].step[step % kSteps];
  }
};

// Up to kTileSteps steps of a sequence, in the order in which a scan takes them.
struct Window {
  int64_t first;
  int64_t count;
  int direction;

  // Window `index` of rows begin .. end.
  static PARARNN_DEVICE Window of(int64_t begin, int64_t end, int64_t index, bool reverse) {
    const int64_t before = index * kTileSteps, left = end - begin - before;
    return {reverse ? end - 1 - before : begin + before, left < kTileSteps ? left : kTileSteps,
            reverse ? -1 : 1};
  }

  PARARNN_DEVICE int64_t time(int step) const { return first + step * direction; }
};

// What a thread moves: one channel, every 32nd step.
template <int kChannels>
struct Carrier {
  int local_channel = thread_index() % kChannels;
  int first_step = thread_index() / kChannels;
  int64_t channel;
  int64_t channels;

  PARARNN_DEVICE Carrier(int64_t first_channel, int64_t all_channels)
      : channel(first_channel + local_channel), channels(all_channels) {}

  // The channel that the thread's warp solves.
  PARARNN_DEVICE int64_t channel_of_warp() const { return channel - local_channel + thread_index() / kWarp; }
  PARARNN_DEVICE int step(int k) const { return first_step + k * kWarp; }
  PARARNN_DEVICE bool has(const Window& window, int k) const {
    return channel < channels && step(k) < window.count;
  }
};

// A thread's share of a tile that is still to be laid down: kRows rows a step of an array (T, kRows, D).
template <class Scalar, int kRows>
struct TileAhead {
  Scalar values[kRows][kSteps];

  // Steps and channels that are not there are 0.
  template <int kChannels>
  PARARNN_DEVICE void load(const Scalar* from, const Carrier<kChannels>& carrier, const Window& window) {
    PARARNN_UNROLL
    for (int row = 0; row < kRows; ++row) {
      PARARNN_UNROLL
      for (int k = 0; k < kSteps; ++k) {
        values[row][k] = Scalar{};
        if (carrier.has(window, k)) {
          values[row][k] =
              from[(window.time(carrier.step(k)) * kRows + row) * carrier.channels + carrier.channel];
        }
      }
    }
  }

  // change(row, x): what is laid down for x.
  template <int kChannels, class Change>
  PARARNN_DEVICE void lay_down(Tile<kRows, kChannels>& tile, const Carrier<kChannels>& carrier,
                               const Change& change) const {
    PARARNN_UNROLL
    for (int row = 0; row < kRows; ++row) {
      PARARNN_UNROLL
      for (int k = 0; k < kSteps; ++k)
        tile.element(row, carrier.local_channel, carrier.step(k)) = change(row, widen(values[row][k]));
    }
  }

  template <int kChannels>
  PARARNN_DEVICE void lay_down(Tile<kRows, kChannels>& tile, const Carrier<kChannels>& carrier) const {
    lay_down(tile, carrier, [](int, float x) { return x; });
  }
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
