// The rows that somebody reads past the last recurrence: the last of each sequence, those with logits, and
// those whose hidden row is wanted.
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "models/step.h"

namespace pararnn {

class FinalRows {
 public:
  // place: memory for the indices.
  FinalRows(const StepBatch& batch, std::vector<int64_t>& place) : batch_(batch), needed_(place) {
    needed_.clear();
    for (int64_t s = 0; s < batch.sequences.count; ++s) needed_.push_back(last_of(s));
    needed_.insert(needed_.end(), batch.rows, batch.rows + batch.num_rows);
    needed_.insert(needed_.end(), batch.hidden_rows, batch.hidden_rows + batch.num_hidden);
    std::sort(needed_.begin(), needed_.end());
    needed_.erase(std::unique(needed_.begin(), needed_.end()), needed_.end());
  }

  int64_t count() const { return int64_t(needed_.size()); }

  // Moves the needed rows of all rows (rows, width) to the front.
  void keep(float* rows, int64_t width) const {
    for (int64_t to = 0; to < count(); ++to) {
      const int64_t from = needed_[size_t(to)];
      if (from != to) memcpy(rows + to * width, rows + from * width, size_t(width) * sizeof(float));
    }
  }

  // Writes last_hidden and seen of every sequence with a slot, the hidden rows that are wanted, and to
  // `finals` the rows that the head reads. norm(count, rows) norms rows in place; finals has room for the
  // sequences too.
  template <class Norm>
  void finish(const OutcomePool& pool, const float* kept, int64_t width, float* finals,
              const Norm& norm) const {
    const StepBatch& b = batch_;
    for (int64_t s = 0; s < b.sequences.count; ++s) copy(last_of(s), kept, width, finals + s * width);
    norm(b.sequences.count, finals);
    remember(pool, finals, width);
    for (int64_t i = 0; i < b.num_hidden; ++i) copy(b.hidden_rows[i], kept, width, b.hidden + i * width);
    norm(b.num_hidden, b.hidden);
    for (int64_t i = 0; i < b.num_rows; ++i) copy(b.rows[i], kept, width, finals + i * width);
    norm(b.num_rows, finals);
  }

 private:
  int64_t last_of(int64_t sequence) const { return batch_.sequences.cu_seqlens[sequence + 1] - 1; }

  // Copies row `row` of the batch out of the kept rows (count, width).
  void copy(int64_t row, const float* kept, int64_t width, float* to) const {
    const auto place = std::lower_bound(needed_.begin(), needed_.end(), row) - needed_.begin();
    memcpy(to, kept + place * width, size_t(width) * sizeof(float));
  }

  // Writes what every sequence with a slot has seen, and its last row. last (sequences, width).
  void remember(const OutcomePool& pool, const float* last, int64_t width) const {
    for (int64_t s = 0; s < batch_.sequences.count; ++s) {
      const int64_t slot = batch_.sequences.slots[s];
      if (slot == kPadSlotId) continue;
      memcpy(pool.last_hidden + slot * width, last + s * width, size_t(width) * sizeof(float));
      uint8_t* const seen = pool.seen + slot * pool.seen_stride;
      if (!goes_on(batch_.sequences, s)) memset(seen, 0, size_t(pool.seen_stride));
      for (int64_t t = batch_.sequences.cu_seqlens[s]; t <= last_of(s); ++t) {
        seen[batch_.tokens[t] / 8] |= uint8_t(1u << (batch_.tokens[t] % 8));
      }
    }
  }

  const StepBatch& batch_;
  std::vector<int64_t>& needed_;  // ascending
};

}  // namespace pararnn
