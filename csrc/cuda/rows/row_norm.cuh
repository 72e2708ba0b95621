// The RMSNorm of a row by one block. A thread holds what it read until the row's scale is known, so a row is
// read once where it is no wider than kHeld packs a thread; of a wider one the rest is read again.
//
// Threads add up their own packs in order, lanes add in halves, warps in order: one order for a width.
#pragma once

#include <cmath>

#include "cuda/rows/pack.cuh"
#include "math/scalar_math.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kHeld = 8;

// The same sum in every lane.
PARARNN_DEVICE float sum_in_warp(float value) {
  PARARNN_UNROLL
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

template <int kThreads>
struct WarpSums {
  float of[kThreads / kWarp];
};

// The same sum in every thread. Once in a kernel.
template <int kThreads>
PARARNN_DEVICE float sum_in_block(float value) {
  PARARNN_SHARED(WarpSums<kThreads>, sums);
  const float own = sum_in_warp(value);
  if (thread_index() % kWarp == 0) sums.of[thread_index() / kWarp] = own;
  sync_block();
  float sum = 0.0f;
  PARARNN_UNROLL
  for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += sums.of[warp];
  return sum;
}

template <int kCount>
PARARNN_DEVICE float square_sum(const Floats<kCount>& values, float sum) {
  PARARNN_UNROLL
  for (int i = 0; i < kCount; ++i) sum = madd(values.at[i], values.at[i], sum);
  return sum;
}

// row.take(i) gives the pack at element i, what is normalised; row.keep(i, pack) may write it where it came
// from, once all others are on their way; row.take_again(i) gives it once more; row.finish(i, pack, scale)
// writes what comes out.
template <int kThreads, int kPack, class Row>
PARARNN_DEVICE void normalise_row(const Row& row, int64_t width, float eps) {
  constexpr int64_t kStep = int64_t(kThreads) * kPack;
  const int64_t first = int64_t(thread_index()) * kPack;
  Floats<kPack> held[kHeld];
  float squares = 0.0f;
  PARARNN_UNROLL
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep >= width) continue;
    held[k] = row.take(first + k * kStep);
    squares = square_sum(held[k], squares);
  }
  PARARNN_UNROLL
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep < width) row.keep(first + k * kStep, held[k]);
  }
  for (int64_t i = first + kHeld * kStep; i < width; i += kStep) {
    const Floats<kPack> values = row.take(i);
    squares = square_sum(values, squares);
    row.keep(i, values);
  }
  const float scale = 1.0f / sqrtf(sum_in_block<kThreads>(squares) / float(width) + eps);
  PARARNN_UNROLL
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep < width) row.finish(first + k * kStep, held[k], scale);
  }
  for (int64_t i = first + kHeld * kStep; i < width; i += kStep) row.finish(i, row.take_again(i), scale);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
