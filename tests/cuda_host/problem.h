// A packed batch with parameters and a pool of states, and what every step gives in float64.
#pragma once

#include <string>
#include <vector>

#include "exact_buffer.h"
#include "params/params.h"
#include "random.h"

namespace pararnn {

struct Batch {
  std::vector<int64_t> lengths;
  std::vector<int32_t> slots;
  std::vector<uint8_t> held;

  int64_t count() const { return int64_t(lengths.size()); }
  bool is_skipped(int64_t s) const { return slots[size_t(s)] == kPadSlotId; }
  // Row of the packed batch where sequence s begins; that of count() is the number of rows.
  int64_t begin(int64_t s) const;
};

// What a scan is asked, and what comes out: the outputs and the pool.
struct States {
  std::vector<double> states, y, pool;
};

class Problem {
 public:
  // Recurrent weights are in +-weights; bx is rounded to its dtype. One channel alone has no bias.
  Problem(CellKind cell, DType dtype, int64_t channels, const Batch& batch, float weights, Random& random);

  // Makes the states forget slowly: an error then is many times the residual that it leaves.
  void slow_down(float by);

  // Step by step, apart from the kernels, in float64.
  States exact() const;
  // How far a run step by step in float32 is from that, at most.
  double float32_error() const;
  // max |f(h_{t-1}) - h_t| / (1 + |h_t|) of each sequence, in float64, for states (T, N, D).
  std::vector<double> residuals(const std::vector<float>& states) const;
  int64_t state_rows() const { return states_; }
  std::string text() const;

  const CellKind cell;
  const DType dtype;
  const int64_t channels;
  const Batch batch;

 private:
  friend class ProblemMemory;

  template <class Real, class Step>
  void each_step(const Step& step) const;
  // Where in the pool row n of the state of sequence s begins.
  int64_t place(int64_t s, int64_t n) const {
    return batch.slots[size_t(s)] * slot_stride_ + n * row_stride_;
  }

  int64_t gates_;
  int64_t states_;
  int64_t row_stride_;
  int64_t slot_stride_;
  float weights_;
  std::vector<float> bx_, bias_, a_, c_, pool_;
};

// The same in memory of exact size, outputs not yet written.
class ProblemMemory {
 public:
  explicit ProblemMemory(const Problem& problem);

  RecurrenceParams params();
  std::vector<float> states() { return states_.copy(); }
  std::vector<float> y() { return y_.copy(); }
  std::vector<float> pool() { return pool_.copy(); }

 private:
  const Problem& problem_;
  Exact<int32_t> bounds_, slots_;
  Exact<uint8_t> held_;
  Exact<float> bx_;
  Exact<uint16_t> narrow_bx_;
  Exact<float> bias_, a_, c_, pool_, states_, y_;
};

}  // namespace pararnn
