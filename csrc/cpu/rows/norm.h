// Sums over a row, and the scale of a norm. 64 running sums take the blocks of 64 elements in index order,
// then halves are added to halves: one order whatever the width of a vector.
#pragma once

#include "cpu/simd/simd.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kNormBlock = 64;

// `index` is a multiple of kLanes; lanes past the row's end must be 0.
struct RowSum {
  Vec sums[kNormBlock / kLanes];

  PARARNN_HD RowSum() {
    for (Vec& sum : sums) sum = Vec(0.0f);
  }

  PARARNN_HD Vec& at(int64_t index) { return sums[index % kNormBlock / kLanes]; }

  PARARNN_HD void add(int64_t index, Vec x) { at(index) = at(index) + x; }

  PARARNN_HD float total() const {
    float lanes[kNormBlock];
    for (int i = 0; i < kNormBlock / kLanes; ++i) store(lanes + i * kLanes, sums[i]);
    for (int half = kNormBlock / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }
};

struct SquareSum : RowSum {
  PARARNN_HD void add(int64_t index, Vec x) { at(index) = madd(x, x, at(index)); }

  PARARNN_HD Vec scale(int64_t width, float eps) const {
    return Vec(1.0f / __builtin_sqrtf(total() / float(width) + eps));
  }
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
