// Maxima of a row of scores by groups, from which the largest scores are found without a look at all of them.
#pragma once

#include <limits>

#include "cpu/simd/simd_double.h"
#include "cpu/threads/parallel.h"

namespace pararnn {
namespace PARARNN_ISA {

// A chunk has kLanes groups; lane l of chunk c holds elements c * kChunk + l, + l + kLanes, ...
constexpr int64_t kChunk = 512;

template <class Score>
constexpr Score lowest() {
  return -std::numeric_limits<Score>::infinity();
}

PARARNN_HD int64_t num_groups(int64_t size) { return ceil_div(size, kChunk) * kLanes; }

// A row of scores with its groups' maxima, (num_groups(size)); best: the maximum, best_id: the first of it.
// A row with a NaN has a best that is NaN.
template <class Score>
struct Peaks {
  const Score* scores;
  int64_t size;
  Score* maxima;
  Score best;
  int64_t best_id;

  int64_t chunks() const { return ceil_div(size, kChunk); }
  int64_t chunk_size(int64_t chunk) const { return smaller(kChunk, size - chunk * kChunk); }

  Score chunk_max(int64_t chunk) const {
    Score best_of_chunk = maxima[chunk * kLanes];
    for (int lane = 1; lane < kLanes; ++lane) {
      const Score other = maxima[chunk * kLanes + lane];
      best_of_chunk = other > best_of_chunk ? other : best_of_chunk;
    }
    return best_of_chunk;
  }
};

// Whole vectors of floats; two chains of maxima, so that the loop does not wait for one.
PARARNN_HD bool scan_vectors(const float* x, int64_t count, float* maxima) {
  FloatLanes even = Vec(lowest<float>()).lanes, odd = even;
  IntLanes nan{};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const FloatLanes x0 = load(x + i).lanes, x1 = load(x + i + kLanes).lanes;
    even = x0 > even ? x0 : even;
    odd = x1 > odd ? x1 : odd;
    nan |= (x0 != x0) | (x1 != x1);
  }
  for (; i + kLanes <= count; i += kLanes) {
    const FloatLanes x0 = load(x + i).lanes;
    even = x0 > even ? x0 : even;
    nan |= x0 != x0;
  }
  store(maxima, Vec(odd > even ? odd : even));
  bool any = false;
  for (int lane = 0; lane < kLanes; ++lane) any |= nan[lane] != 0;
  return any;
}

PARARNN_HD bool scan_vectors(const double* x, int64_t count, double* maxima) {
  constexpr DoubleLanes kZero{};
  DoubleLanes low = lowest<double>() - kZero, high = low;
  LongLanes nan{};
  for (int64_t i = 0; i + kLanes <= count; i += kLanes) {
    const DoubleLanes x0 = load_doubles(x + i), x1 = load_doubles(x + i + kDoubles);
    low = x0 > low ? x0 : low;
    high = x1 > high ? x1 : high;
    nan |= (x0 != x0) | (x1 != x1);
  }
  memcpy(maxima, &low, sizeof(low));
  memcpy(maxima + kDoubles, &high, sizeof(high));
  bool any = false;
  for (int lane = 0; lane < kDoubles; ++lane) any |= nan[lane] != 0;
  return any;
}

template <class Score>
int64_t first_of(const Peaks<Score>& row) {
  for (int64_t chunk = 0; chunk < row.chunks(); ++chunk) {
    if (row.chunk_max(chunk) != row.best) continue;
    int64_t id = chunk * kChunk;
    while (row.scores[id] != row.best) ++id;
    return id;
  }
  return 0;
}

// One pass. `maxima` has num_groups(size) elements.
template <class Score>
Peaks<Score> find_peaks(const Score* scores, int64_t size, Score* maxima) {
  Peaks<Score> row{scores, size, maxima, lowest<Score>(), 0};
  bool nan = false;
  for (int64_t chunk = 0; chunk < row.chunks(); ++chunk) {
    const Score* const x = scores + chunk * kChunk;
    Score* const group = maxima + chunk * kLanes;
    const int64_t count = row.chunk_size(chunk), whole = count / kLanes * kLanes;
    nan |= scan_vectors(x, whole, group);
    for (int64_t i = whole; i < count; ++i) {
      nan |= x[i] != x[i];
      if (x[i] > group[i - whole]) group[i - whole] = x[i];
    }
    const Score peak = row.chunk_max(chunk);
    if (peak > row.best) row.best = peak;
  }
  if (nan) row.best = std::numeric_limits<Score>::quiet_NaN();
  if (!nan) row.best_id = first_of(row);
  return row;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
