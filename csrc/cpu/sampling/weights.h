// Weights of the draw (draw.h), a vector at a time.
#pragma once

#include "cpu/sampling/peaks.h"

namespace pararnn {
namespace PARARNN_ISA {

struct Tempered {
  double best;
  double temperature;

  PARARNN_HD DoubleLanes operator()(DoubleLanes scores) const {
    const DoubleLanes below = scores - best;
    return temperature == 1.0 ? below : below / temperature;
  }
  PARARNN_HD double operator()(double score) const { return (score - best) / temperature; }
};

PARARNN_HD DoubleLanes weight(DoubleLanes tempered) {
  return round_to_integer(exp_scaled(tempered, kWeightBits));
}

// Weights of one chunk, those below `least` taken as 0, into out (kChunk). Returns their sum.
template <class Score>
int64_t weigh_chunk(const Score* scores, int64_t count, const Tempered& tempered, double least, double* out) {
  DoubleLanes sum{};
  int64_t i = 0;
  for (; i + kDoubles <= count; i += kDoubles) {
    const DoubleLanes w = weight(tempered(load_doubles(scores + i)));
    const DoubleLanes kept = w < least ? DoubleLanes{} : w;
    memcpy(out + i, &kept, sizeof(kept));
    sum += kept;
  }
  int64_t total = 0;
  for (int lane = 0; lane < kDoubles; ++lane) total += int64_t(sum[lane]);
  for (; i < count; ++i) {
    const double w = weight(tempered(double(scores[i])));
    out[i] = w < least ? 0.0 : w;
    total += int64_t(out[i]);
  }
  return total;
}

// The first position at which the running sum of the weights exceeds `target`, which is below their sum.
PARARNN_HD int64_t first_beyond(const double* weights, int64_t target) {
  int64_t position = 0;
  for (int64_t held = int64_t(weights[0]); held <= target; held += int64_t(weights[position])) ++position;
  return position;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
