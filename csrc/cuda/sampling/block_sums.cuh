// Sums and the like over all threads of a block. Whole numbers: the order of a sum does not matter.
#pragma once

#include "cuda/block.cuh"

namespace pararnn {
namespace PARARNN_ISA {

template <int kThreads, class T>
struct PerWarp {
  T of[kThreads / kWarp];
};

// The better of all threads' values, by better(x, y), in every thread. Ends with a barrier after its last
// look at `memory`, so that that can be used again.
template <int kThreads, class T, class Better>
PARARNN_DEVICE T best_of_block(T value, PerWarp<kThreads, T>& memory, const Better& better) {
  PARARNN_UNROLL
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = better(value, shuffle_xor(value, mask));
  if (thread_index() % kWarp == 0) memory.of[thread_index() / kWarp] = value;
  sync_block();
  value = memory.of[0];
  PARARNN_UNROLL
  for (int warp = 1; warp < kThreads / kWarp; ++warp) value = better(value, memory.of[warp]);
  sync_block();
  return value;
}

struct Sums {
  int64_t before;  // of the threads below
  int64_t total;
};

// The same barrier at the end.
template <int kThreads>
PARARNN_DEVICE Sums sum_block(int64_t value, PerWarp<kThreads, int64_t>& memory) {
  const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
  int64_t until = value;
  PARARNN_UNROLL
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const int64_t below = shuffle_up(until, delta);
    if (lane >= delta) until += below;
  }
  if (lane == kWarp - 1) memory.of[warp] = until;
  sync_block();
  Sums sums{until - value, 0};
  PARARNN_UNROLL
  for (int i = 0; i < kThreads / kWarp; ++i) {
    if (i < warp) sums.before += memory.of[i];
    sums.total += memory.of[i];
  }
  sync_block();
  return sums;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
