// Log-probabilities by the unmodified logits; reference: pararnn_core/reference_sampler.py.
#include <cmath>

#include "cpu/sampling/candidates.h"
#include "cpu/simd/gradual_underflow.h"
#include "cpu/threads/scratch.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

namespace {

constexpr int kColumns = 16;

// log of the sum of e^(x - best): 16 columns of sums in index order, then folded by halves.
double log_sum(const float* x, int64_t size, double best) {
  double sums[kColumns] = {};
  const int64_t whole = size / kColumns * kColumns;
  DoubleLanes columns[kColumns / kDoubles] = {};
  for (int64_t i = 0; i < whole; i += kColumns) {
    for (int c = 0; c < kColumns / kDoubles; ++c)
      columns[c] += exp_scaled(load_doubles(x + i + c * kDoubles) - best, 0);
  }
  memcpy(sums, columns, sizeof(sums));
  for (int64_t i = whole; i < size; ++i) sums[i - whole] += exp_scaled(double(x[i]) - best, 0);
  for (int half = kColumns / 2; half > 0; half /= 2) {
    for (int c = 0; c < half; ++c) sums[c] += sums[c + half];
  }
  return log(sums[0]);
}

int64_t take_top(const Peaks<float>& row, int64_t count, Candidate* out, float* spare) {
  const int64_t found = gather_at_least(row, reached_by(row, count, spare), out);
  const int64_t kept = smaller(count, found);
  std::partial_sort(out, out + kept, out + found, ByRank());
  return kept;
}

}  // namespace

void token_logprobs(const TokenLogprobsParams& p) {
  parallel(p.rows, [&](int64_t i) {
    const GradualUnderflow gradual;
    const float* const logits = p.logits + p.logits_rows[i] * p.vocab;
    const int64_t groups = num_groups(p.vocab);
    const int64_t top = smaller(p.top_counts[i], p.vocab);
    // Candidates first: they need the strictest alignment.
    const int64_t room = top > 0 ? (p.vocab + 1) * int64_t(sizeof(Candidate) / sizeof(float)) : 0;
    float* const memory = scratch(room + 2 * groups);
    const Peaks<float> row = find_peaks(logits, p.vocab, memory + room);
    p.finite[i] = std::isfinite(row.best);
    if (!p.finite[i]) return;
    const double best = double(row.best), log_total = log_sum(logits, p.vocab, best);
    p.logprobs[i] = double(logits[p.targets[i]]) - best - log_total;
    if (top == 0) return;
    Candidate* const list = reinterpret_cast<Candidate*>(memory);
    const int64_t found = take_top(row, top, list, memory + room + groups);
    for (int64_t rank = 0; rank < found; ++rank) {
      p.top_ids[i * p.top_stride + rank] = list[rank].id;
      p.top_logprobs[i * p.top_stride + rank] = list[rank].score - best - log_total;
    }
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
