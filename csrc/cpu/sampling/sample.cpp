// Logits to ids; reference, which gives the same ids: pararnn_core/reference_sampler.py.
#include <cmath>

#include "cpu/sampling/candidates.h"
#include "cpu/sampling/weights.h"
#include "cpu/simd/gradual_underflow.h"
#include "cpu/threads/scratch.h"
#include "math/draw.h"

namespace pararnn {
namespace PARARNN_ISA {

namespace {

// Bytes of this thread's scratch memory, taken piece by piece.
class Pieces {
 public:
  explicit Pieces(int64_t bytes) : next_(reinterpret_cast<char*>(scratch(ceil_div(bytes, 4)))) {}

  template <class T>
  T* take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += bytes_of<T>(count);
    return piece;
  }

  template <class T>
  static constexpr int64_t bytes_of(int64_t count) {
    return ceil_div(count * int64_t(sizeof(T)), 64) * 64;
  }

 private:
  char* next_;
};

bool has_list(const SampleRow& row) { return row.has_top_k() || row.has_top_p(); }

void penalise_seen(const SampleRow& row, double* scores) {
  const int64_t bytes = ceil_div(row.vocab, 8);
  for (int64_t start = 0; start < bytes; start += 8) {
    uint64_t word = 0;
    memcpy(&word, row.seen + start, size_t(smaller(8, bytes - start)));
    for (; word != 0; word &= word - 1) {
      const int64_t id = start * 8 + __builtin_ctzll(word);
      if (id >= row.vocab) return;
      scores[id] = row.repeated(scores[id]);
    }
  }
}

void penalise_counted(const SampleRow& row, double* scores) {
  for (int64_t id = 0; id < row.vocab; ++id) {
    if (row.counts[id] != 0) scores[id] = row.counted(scores[id], row.counts[id]);
  }
}

template <class Score>
PARARNN_HD void copy_word(uint32_t word, const float* logits, int64_t count, Score* scores) {
  for (int64_t i = 0; i < count; ++i) scores[i] = word >> i & 1 ? Score(logits[i]) : lowest<Score>();
}

// The logits of ids that may be drawn, -inf for the others.
template <class Score>
void copy_allowed(const SampleRow& row, Score* scores) {
  int64_t id = 0;
  // A constant number of turns becomes vectors.
  for (; id + kMaskBits <= row.vocab; id += kMaskBits)
    copy_word(uint32_t(row.mask[id / kMaskBits]), row.logits + id, kMaskBits, scores + id);
  if (id < row.vocab)
    copy_word(uint32_t(row.mask[id / kMaskBits]), row.logits + id, row.vocab - id, scores + id);
}

void penalise(const SampleRow& row, double* scores) {
  if (row.is_masked()) {
    copy_allowed(row, scores);
  } else {
    for (int64_t id = 0; id < row.vocab; ++id) scores[id] = double(row.logits[id]);
  }
  for (int64_t i = 0; i < row.num_biases; ++i) scores[row.bias_ids[i]] += row.biases[i];
  if (row.repeats()) penalise_seen(row, scores);
  if (row.counts_matter()) penalise_counted(row, scores);
}

// Without top_k and top_p: the sums of the chunks, then a second look at the one that the draw falls into.
template <class Score>
int64_t draw_from_all(const SampleRow& row, const Peaks<Score>& peaks, const Tempered& tempered,
                      int64_t* ends) {
  double weights[kChunk];
  int64_t total = 0;
  const double least = row.least_weight();
  for (int64_t chunk = 0; chunk < peaks.chunks(); ++chunk) {
    const int64_t start = chunk * kChunk;
    total += weigh_chunk(peaks.scores + start, peaks.chunk_size(chunk), tempered, least, weights);
    ends[chunk] = total;
  }
  const int64_t target = row.target(total);
  int64_t chunk = 0;
  while (ends[chunk] <= target) ++chunk;
  const int64_t start = chunk * kChunk;
  weigh_chunk(peaks.scores + start, peaks.chunk_size(chunk), tempered, least, weights);
  return start + first_beyond(weights, target - (chunk == 0 ? 0 : ends[chunk - 1]));
}

template <class Score>
int64_t take_top_k(const SampleRow& row, const Peaks<Score>& peaks, const Tempered& tempered, Score* groups,
                   Candidate* out, Candidate* spare) {
  const int64_t k = row.counters.top_k;
  const Score bound = reached_by(peaks, k, groups);
  const int64_t found = gather_at_least(peaks, bound, out);
  const int64_t kept = keep_within(out, found, cut_by_count(out, found, k, spare));
  for (int64_t i = 0; i < kept; ++i) out[i].weight = weight(tempered(out[i].score));
  return kept;
}

// Tempered scores below it, all together, weigh less than (1 - top_p) of `total`: no nucleus needs them.
double nucleus_floor(const SampleRow& row, int64_t total) {
  const double spare = 0.5 * (1.0 - row.numbers.top_p) * double(total) - double(row.vocab);
  if (!(spare > 1.0)) return lowest<double>();
  return log(spare / (double(row.vocab) * double(int64_t(1) << kWeightBits))) - 1e-3;
}

// All that a nucleus of the whole row can hold. Also gives the whole row's weight.
template <class Score>
int64_t take_nucleus(const SampleRow& row, const Peaks<Score>& peaks, const Tempered& tempered,
                     double* weights, Candidate* out, int64_t& total) {
  total = 0;
  for (int64_t chunk = 0; chunk < peaks.chunks(); ++chunk) {
    const int64_t start = chunk * kChunk;
    total += weigh_chunk(peaks.scores + start, peaks.chunk_size(chunk), tempered, 0.0, weights + start);
  }
  const double floor = nucleus_floor(row, total);
  int64_t found = 0;
  for (int64_t chunk = 0; chunk < peaks.chunks(); ++chunk) {
    if (tempered(double(peaks.chunk_max(chunk))) < floor) continue;
    const int64_t start = chunk * kChunk, end = start + peaks.chunk_size(chunk);
    int64_t id = start;
    for (; id + kDoubles <= end; id += kDoubles) {
      const LongLanes kept = tempered(load_doubles(peaks.scores + id)) >= floor;
      for (int lane = 0; lane < kDoubles; ++lane) {
        out[found] = {double(peaks.scores[id + lane]), weights[id + lane], id + lane};
        found -= kept[lane];
      }
    }
    for (; id < end; ++id) {
      out[found] = {double(peaks.scores[id]), weights[id], id};
      found += tempered(double(peaks.scores[id])) >= floor;
    }
  }
  return found;
}

Candidate nucleus_cut(const Candidate* candidates, int64_t size, const Tempered& tempered, double wanted,
                      Candidate* spare) {
  int64_t masses[kBuckets] = {};
  for (int64_t i = 0; i < size; ++i)
    masses[bucket_of(tempered(candidates[i].score))] += int64_t(candidates[i].weight);
  int64_t before = 0;
  int bucket = 0;
  while (bucket < kBuckets - 1 && double(before + masses[bucket]) < wanted) before += masses[bucket++];
  int64_t inside = 0;
  for (int64_t i = 0; i < size; ++i) {
    if (bucket_of(tempered(candidates[i].score)) == bucket) spare[inside++] = candidates[i];
  }
  return cut_by_mass(spare, inside, before, wanted);
}

int64_t draw_from_list(const SampleRow& row, Candidate* candidates, int64_t size, double* weights) {
  int64_t total = 0;
  const double least = row.least_weight();
  for (int64_t i = 0; i < size; ++i) {
    weights[i] = candidates[i].weight < least ? 0.0 : candidates[i].weight;
    total += int64_t(weights[i]);
  }
  return candidates[first_beyond(weights, row.target(total))].id;
}

template <class Score>
int64_t filtered_draw(const SampleRow& row, const Peaks<Score>& peaks, const Tempered& tempered,
                      Pieces& pieces) {
  Candidate* const list = pieces.take<Candidate>(row.vocab + 1);
  Candidate* const spare = pieces.take<Candidate>(row.vocab + 1);
  double* const weights = pieces.take<double>(row.vocab);
  int64_t total = 0, size = 0;
  if (row.has_top_k()) {
    size = take_top_k(row, peaks, tempered, pieces.take<Score>(num_groups(row.vocab)), list, spare);
    total = mass_of(list, size);
  } else {
    size = take_nucleus(row, peaks, tempered, weights, list, total);
  }
  if (row.has_top_p()) {
    const double wanted = row.numbers.top_p * double(total);
    size = keep_within(list, size, nucleus_cut(list, size, tempered, wanted, spare));
  }
  return draw_from_list(row, list, size, weights);
}

template <class Score>
int64_t choose(const SampleRow& row, const Peaks<Score>& peaks, Pieces& pieces) {
  // Only a mask leaves a row whose best logit is finite without any score.
  if (peaks.best == lowest<Score>()) return -1;
  if (row.is_greedy()) return peaks.best_id;
  const Tempered tempered{double(peaks.best), row.numbers.temperature};
  if (has_list(row)) return filtered_draw(row, peaks, tempered, pieces);
  return draw_from_all(row, peaks, tempered, pieces.take<int64_t>(peaks.chunks()));
}

int64_t scratch_bytes(const SampleRow& row) {
  const int64_t groups = num_groups(row.vocab);
  int64_t bytes = Pieces::bytes_of<float>(groups) + Pieces::bytes_of<int64_t>(ceil_div(row.vocab, kChunk));
  if (row.changes_logits()) {
    bytes += Pieces::bytes_of<double>(groups) + Pieces::bytes_of<double>(row.vocab);
  } else if (row.is_masked()) {
    bytes += Pieces::bytes_of<float>(groups) + Pieces::bytes_of<float>(row.vocab);
  }
  if (has_list(row)) {
    bytes += 2 * Pieces::bytes_of<Candidate>(row.vocab + 1) + Pieces::bytes_of<double>(row.vocab) +
             Pieces::bytes_of<double>(groups);
  }
  return bytes;
}

template <class Score>
int64_t choose_from(const SampleRow& row, const Score* scores, Pieces& pieces) {
  return choose(row, find_peaks(scores, row.vocab, pieces.take<Score>(num_groups(row.vocab))), pieces);
}

int64_t sample_row(const SampleRow& row) {
  const GradualUnderflow gradual;
  Pieces pieces(scratch_bytes(row));
  const Peaks<float> raw = find_peaks(row.logits, row.vocab, pieces.take<float>(num_groups(row.vocab)));
  if (!std::isfinite(raw.best)) return -1;
  if (row.changes_logits()) {
    double* const scores = pieces.take<double>(row.vocab);
    penalise(row, scores);
    return choose_from(row, scores, pieces);
  }
  if (!row.is_masked()) return choose(row, raw, pieces);
  float* const scores = pieces.take<float>(row.vocab);
  copy_allowed(row, scores);
  return choose_from(row, scores, pieces);
}

}  // namespace

void sample(const SampleParams& p) {
  parallel(p.rows, [&](int64_t i) {
    const SampleRow row = SampleRow::of(p, i);
    const int64_t token = sample_row(row);
    p.tokens[i] = token;
    if (token >= 0) count_draw(p, i, row, token);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
