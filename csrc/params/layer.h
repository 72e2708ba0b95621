// What a layer does between its products. A CPU takes float32 everywhere; on a GPU what products take and
// give has the dtype that is named. Sums are float32, and a row's bits do not depend on the rows beside it.
#pragma once

#include "params/sequences.h"

namespace pararnn {

constexpr int64_t kMaxConvWidth = 8;

// The last two are for models whose mixer has no gate.
enum class GateOrder { kGateThenNorm, kNormThenGate, kNormOnly, kNone };

constexpr int64_t kGateOrders = 4;
constexpr bool has_gate(GateOrder order) {
  return order == GateOrder::kGateThenNorm || order == GateOrder::kNormThenGate;
}

// x and out (rows, width) contiguous.
struct RmsNormParams {
  int64_t rows;
  int64_t width;
  const float* x;
  const float* weight;
  float eps;
  float* out;
};

// y and out (rows, width) contiguous, y float32; gate rows gate_stride apart; gate and out of one dtype.
struct GatedRmsNormParams {
  int64_t rows;
  int64_t width;
  const float* y;
  DType dtype;
  const void* gate;
  int64_t gate_stride;
  const float* weight;
  float eps;
  GateOrder order;
  void* out;
};

// out (rows, width) contiguous, all of one dtype. On a GPU gate and up are contiguous too.
struct SiluMulParams {
  int64_t rows;
  int64_t width;
  DType dtype;
  const void* gate;
  int64_t gate_stride;
  const void* up;
  int64_t up_stride;
  void* out;
};

// out = scale[0] * x + y, all contiguous; scale null: 1.
struct AddScaledParams {
  int64_t size;
  const float* x;
  const float* scale;
  const float* y;
  float* out;
};

// What becomes of the residual stream before its norm.
enum class StreamUpdate { kNone, kAdd, kReplace };

// On a GPU, row by row: x stays, or x = scale[0] * x + update (scale null: 1), or x = update, and
// out = x / sqrt(mean(x^2) + eps) * weight. All (rows, width) contiguous; update and out in their dtypes.
struct AddRmsNormParams {
  int64_t rows;
  int64_t width;
  float* x;
  StreamUpdate kind;
  DType update_dtype;
  const void* update;
  const float* scale;
  const float* weight;
  float eps;
  DType out_dtype;
  void* out;
};

// v (tokens, D), rows v_stride apart, and out (tokens, D) contiguous, of one dtype; tap k of channel i at
// i * channel_stride + k * tap_stride of weight, the newest row meets the last; bias (D) or null. conv_state
// of slot i, row k (oldest first) at i * slot_stride + k * row_stride. On a GPU channel_stride is 1, and a
// sequence without a row is left alone.
struct CausalConvParams {
  Sequences sequences;
  int64_t tokens;
  int64_t channels;
  int64_t width;
  DType dtype;
  const void* v;
  int64_t v_stride;
  const float* weight;
  int64_t channel_stride;
  int64_t tap_stride;
  const float* bias;
  Activation activation;
  DType state_dtype;
  void* conv_state;
  int64_t slot_stride;
  int64_t row_stride;
  void* out;
};

}  // namespace pararnn
