// A linear recurrence over given Jacobians of any number of states, step after step.
//
// To compose two maps of N states takes N multiplications for each number of a Jacobian, where to apply one
// takes one; and a lane would have to hold N^2 numbers of each map. So past a few states time is not spread
// over lanes: the N^2 products of a step are, which are independent, and J is read once and kept nowhere. The
// vector between two steps is x itself, in memory: N has no bound, and a step ends in one barrier.
//
// A block takes a sequence and some neighbouring channels. The lanes of a warp stand side by side along what
// is contiguous in J, in pieces of at least 32 bytes, the least that memory hands out: eight channels; or,
// where there is one channel, eight of the rows that J^T gives, or 32 terms of the one row that J gives.
#pragma once

#include "cuda/block.cuh"
#include "math/scalar_math.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

template <int kChannels>
PARARNN_HD int64_t step_groups(int64_t channels) {
  return (channels + kChannels - 1) / kChannels;
}

template <int kChannels, bool kReverse, int kThreads>
class LinearSteps {
 public:
  PARARNN_DEVICE LinearSteps(const LinearScanParams& p)
      : p_(p),
        sequence_(block_index() / step_groups<kChannels>(p.channels)),
        begin_(p.sequences.cu_seqlens[sequence_]),
        end_(p.sequences.cu_seqlens[sequence_ + 1]),
        channel_(block_index() % step_groups<kChannels>(p.channels) * kChannels +
                 thread_index() % kChannels) {}

  PARARNN_DEVICE void run() const {
    const float* const entry = p_.entry == nullptr ? nullptr : at_step(p_.entry, sequence_);
    kReverse ? backward(entry) : forward(entry);
  }

 private:
  static constexpr int kRows = kReverse && kChannels == 1 ? 8 : 1;
  static constexpr int kTerms = kWarp / (kChannels * kRows);

  // x after each step, from `before`.
  PARARNN_DEVICE void forward(const float* before) const {
    for (int64_t t = begin_; t < end_; ++t) {
      for_rows([&](int64_t n) {
        const float product = times_jacobian(t, before, n);
        if (stores(n)) at_step(p_.x, t)[place(n)] = at_step(p_.source, t)[place(n)] + product;
      });
      sync_block();
      before = at_step(p_.x, t);
    }
    for_rows([&](int64_t n) {
      if (stores(n)) at_step(p_.exit, sequence_)[place(n)] = before == nullptr ? 0.0f : before[place(n)];
    });
  }

  PARARNN_DEVICE void backward(const float* after) const {
    for_rows([&](int64_t n) {
      if (stores(n)) arrive(end_, n, after == nullptr ? 0.0f : after[place(n)]);
    });
    sync_block();
    for (int64_t t = end_ - 1; t >= begin_; --t) {
      for_rows([&](int64_t n) {
        const float product = times_jacobian(t, at_step(p_.x, t), n);
        if (stores(n)) arrive(t, n, product);
      });
      sync_block();
    }
  }

  // v of step t, on its way to the step before.
  PARARNN_DEVICE void arrive(int64_t t, int64_t n, float v) const {
    if (t == begin_) {
      at_step(p_.exit, sequence_)[place(n)] = v;
    } else {
      at_step(p_.x, t - 1)[place(n)] = at_step(p_.source, t - 1)[place(n)] + v;
    }
  }

  // Row n of J_t vector, in reverse of J_t^T vector. For all lanes at once. No vector is zeros.
  PARARNN_DEVICE float times_jacobian(int64_t t, const float* vector, int64_t n) const {
    const float* const jacobian = p_.jacobian + t * p_.states * p_.states * p_.channels;
    const int64_t across = kReverse ? p_.states : 1, along = kReverse ? 1 : p_.states;
    float sum = 0.0f;
    if (vector != nullptr && exists(n)) {
      PARARNN_UNROLL_BY(4)
      for (int64_t m = term(); m < p_.states; m += kTerms)
        sum = madd(jacobian[place(n * along + m * across)], vector[place(m)], sum);
    }
    PARARNN_UNROLL
    for (int mask = kWarp / kTerms; mask < kWarp; mask *= 2) sum += shuffle_xor(sum, mask);
    return sum;
  }

  // Calls visit(n) for the thread's rows n; in all lanes of a warp, also where a lane's n is past the end.
  template <class Visit>
  PARARNN_DEVICE void for_rows(const Visit& visit) const {
    for (int64_t first = thread_index() / kWarp * kRows; first < p_.states; first += kThreads / kWarp * kRows)
      visit(first + thread_index() % kWarp / kChannels % kRows);
  }

  // Which of the terms of a row's sum are the lane's.
  static PARARNN_DEVICE int term() { return thread_index() % kWarp / (kChannels * kRows); }
  PARARNN_DEVICE bool exists(int64_t n) const { return n < p_.states && channel_ < p_.channels; }
  PARARNN_DEVICE bool stores(int64_t n) const { return exists(n) && term() == 0; }
  PARARNN_DEVICE int64_t place(int64_t row) const { return row * p_.channels + channel_; }

  // Of an array (T, N, D), or of one (S, N, D).
  template <class Float>
  PARARNN_DEVICE Float* at_step(Float* array, int64_t t) const {
    return array + t * p_.states * p_.channels;
  }

  const LinearScanParams& p_;
  const int64_t sequence_, begin_, end_, channel_;
};

template <int kChannels, bool kReverse, int kThreads>
PARARNN_DEVICE void linear_steps_block(const LinearScanParams& p) {
  LinearSteps<kChannels, kReverse, kThreads>(p).run();
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
