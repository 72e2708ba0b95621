// Depthwise causal convolution over packed sequences: one work item is one sequence and one block of
// channels, the last K - 1 values in registers.
#include "cpu/simd/bfloat16.h"
#include "cpu/simd/vector_math.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

template <int K, class Value>
struct Window {
  const CausalConvParams& p;
  int64_t channel;
  int64_t count;
  Vec taps[K];
  Vec bias;
  Vec past[K];  // K - 1 in use, oldest first

  void load_weights() {
    for (int k = 0; k < K; ++k) taps[k] = load_taps(p.weight + channel * p.channel_stride + k * p.tap_stride);
    bias = p.bias == nullptr ? Vec(0.0f) : load(p.bias + channel, count);
  }

  Vec load_taps(const float* from) const {
    if (p.channel_stride == 1) return load(from, count);
    float column[kLanes] = {};
    for (int64_t i = 0; i < count; ++i) column[i] = from[i * p.channel_stride];
    return load(column);
  }

  void load_past(const Value* state) {
    for (int k = 0; k < K - 1; ++k) {
      past[k] = state == nullptr ? Vec(0.0f) : load(state + k * p.row_stride, count);
    }
  }

  void store_past(Value* state) const {
    for (int k = 0; k < K - 1; ++k) store(state + k * p.row_stride, past[k], count);
  }

  void step(int64_t t) {
    const float* const v = static_cast<const float*>(p.v) + t * p.v_stride + channel;
    past[K - 1] = round_to(static_cast<const Value*>(nullptr), load(v, count));
    Vec sum = bias;
    for (int k = 0; k < K; ++k) sum = madd(taps[k], past[k], sum);
    for (int k = 0; k < K - 1; ++k) past[k] = past[k + 1];
    store(static_cast<float*>(p.out) + t * p.channels + channel,
          p.activation == Activation::kSilu ? silu(sum) : sum, count);
  }
};

template <int K, class Value>
void run_block(const CausalConvParams& p, int64_t s, int64_t channel) {
  const int64_t count = smaller(kLanes, p.channels - channel);
  const int64_t begin = p.sequences.cu_seqlens[s], end = p.sequences.cu_seqlens[s + 1];
  const int64_t slot = p.sequences.slots[s];
  if (slot == kPadSlotId) {
    float* const out = static_cast<float*>(p.out) + channel;
    for (int64_t t = begin; t < end; ++t) store(out + t * p.channels, Vec(0.0f), count);
    return;
  }
  Value* const state = static_cast<Value*>(p.conv_state) + slot * p.slot_stride + channel;
  Window<K, Value> window{p, channel, count, {}, {}, {}};
  window.load_weights();
  window.load_past(goes_on(p.sequences, s) ? state : nullptr);
  for (int64_t t = begin; t < end; ++t) window.step(t);
  window.store_past(state);
}

template <int K>
void run_width(const CausalConvParams& p) {
  if constexpr (K > 1) {
    if (p.width < K) return run_width<K - 1>(p);
  }
  const int64_t blocks = ceil_div(p.channels, kLanes);
  parallel_lots(p.sequences.count * blocks, mean_length(p.sequences) * kLanes, [&](int64_t item) {
    const int64_t s = item / blocks, channel = item % blocks * kLanes;
    p.state_dtype == DType::kFloat32 ? run_block<K, float>(p, s, channel)
                                     : run_block<K, BFloat16>(p, s, channel);
  });
}

}  // namespace

void causal_conv1d(const CausalConvParams& p) { run_width<kMaxConvWidth>(p); }

}  // namespace PARARNN_ISA
}  // namespace pararnn
