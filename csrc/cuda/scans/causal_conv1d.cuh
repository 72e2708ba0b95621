// Depthwise causal convolution over packed sequences, which leaves each one's tail in its slot.
//
// A thread has a pack of neighbouring channels and `rows` rows of the batch, and slides a window over them;
// the rows before its first it reads again. Only the first K - 1 rows of a sequence need the state that it
// had, and nobody may read that once the tail is written. So the thread that has the first row of a sequence
// does all of those, in whosever rows they lie, and then writes the tail; whoever has them passes them over.
// No value is the business of two threads, hence no barrier.
#pragma once

#include "cuda/rows/pack.cuh"
#include "cuda/scans/channel.cuh"
#include "math/scalar_math.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// Rows that a thread has under way at a time.
constexpr int kConvLot = 4;

// The sequence that row t lies in. Of a decode, one row a sequence, it is found at the first look.
PARARNN_DEVICE int64_t sequence_of(const Sequences& sequences, int64_t t) {
  const int32_t* const bounds = sequences.cu_seqlens;
  if (t < sequences.count && bounds[t] <= t && t < bounds[t + 1]) return t;
  int64_t low = 0, high = sequences.count - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    t < bounds[middle + 1] ? high = middle : low = middle + 1;
  }
  return low;
}

// kTaps: at least p.width; those that are too many meet nothing and weigh 0.
template <class Scalar, class State, int kTaps, int kPack>
class ConvWindow {
 public:
  PARARNN_DEVICE ConvWindow(const CausalConvParams& params, int64_t first_channel)
      : p(params), channel(first_channel), unused(kTaps - int(params.width)) {
    PARARNN_UNROLL
    for (int k = 0; k < kTaps; ++k) {
      past[k] = taps[k] = Floats<kPack>{};
      if (k >= unused) taps[k] = load_pack<kPack>(p.weight + (k - unused) * p.tap_stride + channel);
    }
    bias = p.bias == nullptr ? Floats<kPack>{} : load_pack<kPack>(p.bias + channel);
  }

  // The next row to come is the first of a sequence that goes on from its state, or from 0.
  PARARNN_DEVICE void start(const Span& span) {
    PARARNN_UNROLL
    for (int k = 0; k < kTaps - 1; ++k) {
      if (k >= unused) past[k] = span.goes_on ? load_pack<kPack>(state_row(span, k)) : Floats<kPack>{};
    }
  }

  // The next row to come is t, with enough of its own sequence before it.
  PARARNN_DEVICE void resume(int64_t t) {
    PARARNN_UNROLL
    for (int k = 0; k < kTaps - 1; ++k) {
      if (k >= unused) past[k] = rounded_row(t - (kTaps - 1) + k);
    }
  }

  PARARNN_DEVICE void run(int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kConvLot) {
      Floats<kPack> lot[kConvLot];
      PARARNN_UNROLL
      for (int i = 0; i < kConvLot; ++i) {
        if (first + i < end) lot[i] = rounded_row(first + i);
      }
      PARARNN_UNROLL
      for (int i = 0; i < kConvLot; ++i) {
        if (first + i < end) step(first + i, lot[i]);
      }
    }
  }

  // What the window holds, once its first K - 1 rows are done, of a sequence that has no more; else the last
  // rows of v.
  PARARNN_DEVICE void leave_tail(const Span& span) {
    const bool is_short = span.end - span.begin < p.width;
    PARARNN_UNROLL
    for (int k = 0; k < kTaps - 1; ++k) {
      if (k >= unused)
        store_pack(is_short ? past[k] : rounded_row(span.end - (kTaps - 1) + k), state_row(span, k));
    }
  }

  PARARNN_DEVICE void clear(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t) store_pack(Floats<kPack>{}, out_row(t));
  }

 private:
  PARARNN_DEVICE State* state_row(const Span& span, int k) const {
    return static_cast<State*>(p.conv_state) + span.slot * p.slot_stride + (k - unused) * p.row_stride +
           channel;
  }

  PARARNN_DEVICE Scalar* out_row(int64_t t) const {
    return static_cast<Scalar*>(p.out) + t * p.channels + channel;
  }

  PARARNN_DEVICE Floats<kPack> rounded_row(int64_t t) const {
    Floats<kPack> row = load_pack<kPack>(static_cast<const Scalar*>(p.v) + t * p.v_stride + channel);
    PARARNN_UNROLL
    for (int i = 0; i < kPack; ++i) row.at[i] = widen(narrow_to<State>(row.at[i]));
    return row;
  }

  PARARNN_DEVICE void step(int64_t t, const Floats<kPack>& newest) {
    past[kTaps - 1] = newest;
    Floats<kPack> sum = bias;
    PARARNN_UNROLL
    for (int k = 0; k < kTaps; ++k) {
      PARARNN_UNROLL
      for (int i = 0; i < kPack; ++i) sum.at[i] = madd(taps[k].at[i], past[k].at[i], sum.at[i]);
    }
    PARARNN_UNROLL
    for (int k = 0; k < kTaps - 1; ++k) past[k] = k >= unused ? past[k + 1] : Floats<kPack>{};
    if (p.activation == Activation::kSilu) {
      PARARNN_UNROLL
      for (int i = 0; i < kPack; ++i) sum.at[i] = silu(sum.at[i]);
    }
    store_pack(sum, out_row(t));
  }

  const CausalConvParams& p;
  const int64_t channel;
  const int unused;
  Floats<kPack> taps[kTaps];
  Floats<kPack> past[kTaps];  // of the rows before the next one, oldest first
  Floats<kPack> bias;
};

template <int kPack, int kThreads>
PARARNN_HD int64_t conv_channel_groups(const CausalConvParams& p) {
  constexpr int64_t kChannels = int64_t(kThreads) * kPack;
  return (p.channels + kChannels - 1) / kChannels;
}

template <int kPack, int kThreads>
int64_t causal_conv1d_blocks(const CausalConvParams& p, int64_t rows) {
  return (p.tokens + rows - 1) / rows * conv_channel_groups<kPack, kThreads>(p);
}

inline bool moves_packs(const CausalConvParams& p, int64_t count) {
  return lie_in_packs(p.v, p.dtype, p.v_stride, count) && lie_in_packs(p.out, p.dtype, p.channels, count) &&
         lie_in_packs(p.weight, DType::kFloat32, p.tap_stride, count) &&
         lie_in_packs(p.bias, DType::kFloat32, p.channels, count) &&
         lie_in_packs(p.conv_state, p.state_dtype, p.slot_stride, count) && p.row_stride % count == 0;
}

// A decode is one row a thread, as rows of many sequences take long one after the other; of a prompt each
// thread reads K - 1 rows besides its own.
inline int64_t conv_rows_per_thread(const CausalConvParams& p) { return p.tokens <= 512 ? 1 : 8; }

template <class Scalar, class State, int kTaps, int kPack, int kThreads>
PARARNN_DEVICE void causal_conv1d_block(const CausalConvParams& p, int64_t rows) {
  // A grid has fewer than 2^31 blocks, and dividing 64 bits takes a hundred instructions.
  const unsigned block = unsigned(block_index()), groups = unsigned(conv_channel_groups<kPack, kThreads>(p));
  const int64_t channel = (int64_t(block % groups) * kThreads + thread_index()) * kPack;
  if (channel >= p.channels) return;
  const int64_t begin = int64_t(block / groups) * rows;
  const int64_t end = begin + rows < p.tokens ? begin + rows : p.tokens;
  ConvWindow<Scalar, State, kTaps, kPack> window(p, channel);
  int64_t t = begin;
  for (int64_t s = sequence_of(p.sequences, begin); t < end && s < p.sequences.count; ++s) {
    const Span span(p.sequences, s);
    if (span.begin == span.end) continue;
    const int64_t stop = span.end < end ? span.end : end;
    const int64_t stateless = span.begin + p.width - 1;  // the first row that needs v alone
    if (span.slot == kPadSlotId) {
      window.clear(t, stop);
    } else {
      if (t == span.begin) {
        window.start(span);
        window.run(t, stateless < span.end ? stateless : span.end);
        window.leave_tail(span);
      } else if (stateless < stop) {
        window.resume(t > stateless ? t : stateless);
      }
      window.run(t > stateless ? t : stateless, stop);
    }
    t = stop;
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
