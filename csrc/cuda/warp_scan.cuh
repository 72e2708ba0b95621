// A linear recurrence whose time is spread over the lanes of a warp.
#pragma once

#include "../scan_math.h"
#include "tile.cuh"

namespace pararnn {
namespace PARARNN_ISA {

// The composition of the maps of all lanes up to this one.
template <int N>
PARARNN_DEVICE Affine<float, N> inclusive_scan(Affine<float, N> map) {
  PARARNN_UNROLL
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const Affine<float, N> before = shuffle_up(map, delta);
    if (thread_index() % kWarp >= delta) map = compose(map, before);
  }
  return map;
}

template <int N>
struct Vector {
  float of[N];
};

// Of x_t = maps_t(x_{t-1}) over all steps of the warp: x before the lane's first. entry: before the warp's.
template <int N>
PARARNN_DEVICE Vector<N> enter(const Affine<float, N> (&maps)[kSteps], const Vector<N>& entry) {
  Affine<float, N> whole = maps[0];
  PARARNN_UNROLL
  for (int k = 1; k < kSteps; ++k) whole = compose(maps[k], whole);
  Vector<N> end;
  apply(inclusive_scan(whole), entry.of, end.of);
  const Vector<N> before = shuffle_up(end, 1);
  return thread_index() % kWarp == 0 ? entry : before;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
