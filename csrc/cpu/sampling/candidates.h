// The largest scores of a row, in the order of their ids, and cuts through them: by count and by mass.
// Equal scores rank by id, the lowest first.
#pragma once

#include <algorithm>

#include "cpu/sampling/peaks.h"

namespace pararnn {
namespace PARARNN_ISA {

// weight: a whole number; see weights.h.
struct Candidate {
  double score;
  double weight;
  int64_t id;
};

struct ByRank {
  PARARNN_HD bool operator()(const Candidate& x, const Candidate& y) const {
    return x.score > y.score || (x.score == y.score && x.id < y.id);
  }
};

// A type of this namespace: what the standard library makes of it is not shared between levels.
struct Larger {
  template <class Score>
  PARARNN_HD bool operator()(Score x, Score y) const {
    return x > y;
  }
};

// Whether it ranks no later than `cut`.
PARARNN_HD bool within(const Candidate& candidate, const Candidate& cut) { return !ByRank()(cut, candidate); }

PARARNN_HD bool any_at_least(const float* x, float bound) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(load(x).lanes, _mm512_set1_ps(bound), _CMP_GE_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(load(x).lanes, _mm256_set1_ps(bound), _CMP_GE_OQ)) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps(_mm_cmpge_ps(load(x).lanes, _mm_set1_ps(bound))) != 0;
#else
  return x[0] >= bound || x[1] >= bound || x[2] >= bound || x[3] >= bound;
#endif
}

PARARNN_HD bool any_at_least(const double* x, double bound) {
  bool any = false;
  for (int lane = 0; lane < kLanes; ++lane) any |= x[lane] >= bound;
  return any;
}

template <class Score>
int64_t append_at_least(const Score* x, int64_t count, int64_t first_id, Score bound, Candidate* out) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    out[found] = {double(x[i]), 0.0, first_id + i};
    found += x[i] >= bound;
  }
  return found;
}

// Every score of at least `bound`; `out` has room for one more than there are.
template <class Score>
int64_t gather_at_least(const Peaks<Score>& row, Score bound, Candidate* out) {
  int64_t found = 0;
  for (int64_t chunk = 0; chunk < row.chunks(); ++chunk) {
    if (!(row.chunk_max(chunk) >= bound)) continue;
    const int64_t start = chunk * kChunk, end = start + row.chunk_size(chunk);
    int64_t id = start;
    for (; id + kLanes <= end; id += kLanes) {
      if (any_at_least(row.scores + id, bound))
        found += append_at_least(row.scores + id, kLanes, id, bound, out + found);
    }
    found += append_at_least(row.scores + id, end - id, id, bound, out + found);
  }
  return found;
}

// A score that at least `count` elements reach: the count-th largest of the groups' maxima. Uses `spare`,
// (num_groups).
template <class Score>
Score reached_by(const Peaks<Score>& row, int64_t count, Score* spare) {
  const int64_t groups = num_groups(row.size);
  if (count > groups) return lowest<Score>();
  std::copy(row.maxima, row.maxima + groups, spare);
  std::nth_element(spare, spare + count - 1, spare + groups, Larger());
  return spare[count - 1];
}

PARARNN_HD int64_t keep_within(Candidate* candidates, int64_t size, const Candidate& cut) {
  int64_t kept = 0;
  for (int64_t i = 0; i < size; ++i) {
    const Candidate candidate = candidates[i];
    candidates[kept] = candidate;
    kept += within(candidate, cut);
  }
  return kept;
}

// The count-th in rank, 1 <= count <= size. Uses `spare`, (size).
PARARNN_HD Candidate cut_by_count(const Candidate* candidates, int64_t size, int64_t count,
                                  Candidate* spare) {
  std::copy(candidates, candidates + size, spare);
  std::nth_element(spare, spare + count - 1, spare + size, ByRank());
  return spare[count - 1];
}

PARARNN_HD int64_t mass_of(const Candidate* candidates, int64_t size) {
  int64_t mass = 0;
  for (int64_t i = 0; i < size; ++i) mass += int64_t(candidates[i].weight);
  return mass;
}

// The first in rank at which the mass, `before` included, reaches `wanted`; the last if it never does.
// Changes the order of the candidates.
PARARNN_HD Candidate cut_by_mass(Candidate* candidates, int64_t size, int64_t before, double wanted) {
  int64_t low = 0, high = size;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    std::nth_element(candidates + low, candidates + middle, candidates + high, ByRank());
    const int64_t mass = before + mass_of(candidates + low, middle - low);
    if (double(mass) >= wanted) {
      high = middle;
    } else {
      low = middle;
      before = mass;
    }
  }
  return candidates[low];
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
