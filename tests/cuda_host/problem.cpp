#include "problem.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "bfloat16.h"

// float32 as it should be: without the special functions of a GPU.
#undef PARARNN_ISA
#undef PARARNN_CUDA_HOST
#define PARARNN_ISA plain
#include "cell_reference.h"
#include "math/cell_math.h"

namespace pararnn {
namespace {

constexpr int64_t kPoolSlots = 9;

std::vector<int32_t> bounds_of(const Batch& batch) {
  std::vector<int32_t> out;
  for (int64_t s = 0; s <= batch.count(); ++s) out.push_back(int32_t(batch.begin(s)));
  return out;
}

template <class Cell>
void float32_step(const float* bx, const float* a, const float* c, float* state) {
  PARARNN_ISA::StepValues<Cell, float> values{};
  std::copy_n(state, Cell::kStates, values.state);
  std::copy_n(bx, Cell::kGates, values.bx);
  std::copy_n(a, Cell::kRecurrent, values.a);
  std::copy_n(c, Cell::kPeepholes, values.peephole);
  const auto next = Cell::step(PARARNN_ISA::PlainInput<Cell, float>{values});
  state[0] = next.get(PARARNN_ISA::Index<0>());
  if constexpr (Cell::kStates == 2) state[1] = next.get(PARARNN_ISA::Index<1>());
}

}  // namespace

int64_t Batch::begin(int64_t s) const {
  int64_t at = 0;
  for (int64_t i = 0; i < s; ++i) at += lengths[size_t(i)];
  return at;
}

Problem::Problem(CellKind kind, DType type, int64_t width, const Batch& sequences, float weights,
                 Random& random)
    : cell(kind),
      dtype(type),
      channels(width),
      batch(sequences),
      gates_(gates_of(kind)),
      states_(states_of(kind)),
      row_stride_(width + 3),
      slot_stride_(states_ * row_stride_ + 5),
      weights_(weights),
      bx_(random.numbers(batch.begin(batch.count()) * gates_ * width, 2.0f)),
      bias_(random.numbers(width == 1 ? 0 : gates_ * width)),
      a_(random.numbers(recurrent_of(kind) * width, weights)),
      c_(random.numbers(peepholes_of(kind) * width, weights)),
      pool_(random.numbers((kPoolSlots - 1) * slot_stride_ + (states_ - 1) * row_stride_ + width)) {
  if (dtype == DType::kBFloat16) std::transform(bx_.begin(), bx_.end(), bx_.begin(), rounded);
}

std::string Problem::text() const {
  std::string lengths;
  for (const int64_t length : batch.lengths) lengths += std::to_string(length) + " ";
  char out[160];
  std::snprintf(out, sizeof(out), "cell %d, dtype %d, %lld channels, weights %g, lengths %s", int(cell),
                int(dtype), static_cast<long long>(channels), double(weights_), lengths.c_str());
  return out;
}

void Problem::slow_down(float by) {
  const bool weighs_new = cell == CellKind::kGru || cell == CellKind::kMinGru;  // their first gate
  for (size_t i = 0; i < bx_.size(); ++i) {
    if (int64_t(i) / channels % gates_ == 0) bx_[i] += weighs_new ? -by : by;
  }
}

// Calls step(s, t, d, bx, a, c, state) for every step of every channel, in the order of time; state is what
// the last call left there.
template <class Real, class Step>
void Problem::each_step(const Step& step) const {
  for (int64_t s = 0; s < batch.count(); ++s) {
    if (batch.is_skipped(s)) continue;
    for (int64_t d = 0; d < channels; ++d) {
      const auto column = [&](const std::vector<float>& from, int64_t row) {
        return Real(from[size_t(row * channels + d)]);
      };
      const auto input = [&](int64_t t, int64_t i) {
        const float bias = bias_.empty() ? 0.0f : bias_[size_t(i * channels + d)];
        return Real(bx_[size_t((t * gates_ + i) * channels + d)] + bias);
      };
      Real state[kMostRows] = {}, bx[kMostRows], a[kMostRows], c[kMostRows] = {};
      for (int64_t i = 0; i < recurrent_of(cell); ++i) a[i] = column(a_, i);
      for (int64_t i = 0; i < peepholes_of(cell); ++i) c[i] = column(c_, i);
      for (int64_t n = 0; n < states_ && batch.held[size_t(s)]; ++n)
        state[n] = Real(pool_[size_t(place(s, n) + d)]);
      for (int64_t t = batch.begin(s); t < batch.begin(s + 1); ++t) {
        for (int64_t i = 0; i < gates_; ++i) bx[i] = input(t, i);
        step(s, t, d, bx, a, c, state);
      }
    }
  }
}

States Problem::exact() const {
  const int64_t tokens = batch.begin(batch.count());
  States out{std::vector<double>(size_t(tokens * states_ * channels)),
             std::vector<double>(size_t(tokens * channels)), std::vector<double>(pool_.begin(), pool_.end())};
  for (int64_t s = 0; s < batch.count(); ++s) {
    for (int64_t i = 0; i < states_ * channels && !batch.is_skipped(s) && !batch.held[size_t(s)]; ++i)
      out.pool[size_t(place(s, i / channels) + i % channels)] = 0.0;
  }
  each_step<double>([&](int64_t s, int64_t t, int64_t d, const double* bx, const double* a, const double* c,
                        double* state) {
    reference_step(cell, bx, a, c, state);
    for (int64_t n = 0; n < states_; ++n) {
      out.states[size_t((t * states_ + n) * channels + d)] = state[n];
      out.pool[size_t(place(s, n) + d)] = state[n];
    }
    out.y[size_t(t * channels + d)] = state[states_ - 1];
  });
  return out;
}

double Problem::float32_error() const {
  const States want = exact();
  double error = 0.0;
  each_step<float>(
      [&](int64_t, int64_t t, int64_t d, const float* bx, const float* a, const float* c, float* state) {
        PARARNN_ISA::for_cell(cell, [&](auto kind) { float32_step<decltype(kind)>(bx, a, c, state); });
        for (int64_t n = 0; n < states_; ++n)
          error = std::max(
              error, std::fabs(double(state[n]) - want.states[size_t((t * states_ + n) * channels + d)]));
      });
  return error;
}

std::vector<double> Problem::residuals(const std::vector<float>& states) const {
  std::vector<double> out(size_t(batch.count()), 0.0);
  each_step<double>([&](int64_t s, int64_t t, int64_t d, const double* bx, const double* a, const double* c,
                        double* state) {
    reference_step(cell, bx, a, c, state);
    for (int64_t n = 0; n < states_; ++n) {
      const double h = double(states[size_t((t * states_ + n) * channels + d)]);
      out[size_t(s)] = std::max(out[size_t(s)], std::fabs(state[n] - h) / (1.0 + std::fabs(h)));
      state[n] = h;
    }
  });
  return out;
}

ProblemMemory::ProblemMemory(const Problem& problem)
    : problem_(problem),
      bounds_(bounds_of(problem.batch)),
      slots_(problem.batch.slots),
      held_(problem.batch.held),
      bx_(problem.bx_),
      narrow_bx_(int64_t(problem.bx_.size())),
      bias_(problem.bias_),
      a_(problem.a_),
      c_(problem.c_),
      pool_(problem.pool_),
      states_(problem.batch.begin(problem.batch.count()) * problem.states_ * problem.channels),
      y_(problem.batch.begin(problem.batch.count()) * problem.channels) {
  std::transform(problem.bx_.begin(), problem.bx_.end(), narrow_bx_.data(), bfloat16_bits);
}

RecurrenceParams ProblemMemory::params() {
  const bool narrow = problem_.dtype == DType::kBFloat16;
  return {
      problem_.cell,
      {problem_.batch.count(), bounds_.data(), slots_.data(), reinterpret_cast<const bool*>(held_.data())},
      problem_.channels,
      problem_.dtype,
      narrow ? static_cast<const void*>(narrow_bx_.data()) : bx_.data(),
      problem_.bias_.empty() ? nullptr : bias_.data(),
      a_.data(),
      problem_.c_.empty() ? nullptr : c_.data(),
      pool_.data(),
      pool_.data(),
      problem_.slot_stride_,
      problem_.row_stride_,
      states_.data(),
      y_.data()};
}

}  // namespace pararnn
