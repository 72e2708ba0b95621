// A linear recurrence whose time is spread over the lanes of a warp.
#pragma once

#include "cuda/scans/tile.cuh"
#include "math/scan_math.h"

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

// The composition of the maps of all steps of the warp up to the lane's last.
template <int N>
PARARNN_DEVICE Affine<float, N> up_to_lane(const Affine<float, N> (&maps)[kSteps]) {
  Affine<float, N> whole = maps[0];
  PARARNN_UNROLL
  for (int k = 1; k < kSteps; ++k) whole = compose(maps[k], whole);
  return inclusive_scan(whole);
}

// x before the lane's first step, of what up_to_lane gives and x before the warp's.
template <int N>
PARARNN_DEVICE Vector<N> before_lane(const Affine<float, N>& up_to_lane, const Vector<N>& entry) {
  Vector<N> end;
  apply(up_to_lane, entry.of, end.of);
  const Vector<N> before = shuffle_up(end, 1);
  return thread_index() % kWarp == 0 ? entry : before;
}

// Of x_t = maps_t(x_{t-1}) over all steps of the warp: x before the lane's first. entry: before the warp's.
template <int N>
PARARNN_DEVICE Vector<N> enter(const Affine<float, N> (&maps)[kSteps], const Vector<N>& entry) {
  return before_lane(up_to_lane(maps), entry);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
