// What a layer does between its products on a GPU: what the kernels are told, on the host, and how they are
// started. Every sum and product is float32; a row's bits do not depend on the rows beside it.
#pragma once

#include "../params.h"

namespace pararnn {

// What becomes of the residual stream before its norm.
enum class StreamUpdate { kNone, kAdd, kReplace };

// Row by row: x stays, or x = scale[0] * x + update (scale null: 1), or x = update, and
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

// y and out (rows, width) contiguous, y float32; gate rows gate_stride apart; gate and out of one dtype.
struct GatedNormParams {
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

// out = silu(gate) * up, all `size` elements of one dtype, contiguous.
struct GateProductParams {
  int64_t size;
  DType dtype;
  const void* gate;
  const void* up;
  void* out;
};

// As CausalConvParams, over `tokens` rows, v and out of one dtype, channels of the weight side by side: tap k
// of channel i at k * tap_stride + i. cu_seqlens is on the GPU: nobody looks at it before the kernel. A
// sequence without a row is left alone.
struct SlotConvParams {
  Sequences sequences;
  int64_t tokens;
  int64_t channels;
  int64_t width;
  DType dtype;
  const void* v;
  int64_t v_stride;
  const float* weight;
  int64_t tap_stride;
  const float* bias;
  Activation activation;
  DType state_dtype;
  void* conv_state;
  int64_t slot_stride;
  int64_t row_stride;
  void* out;
};

// stream: a cudaStream_t of the device that is current.
void add_rms_norm_cuda(const AddRmsNormParams& params, void* stream);
void gated_rms_norm_cuda(const GatedNormParams& params, void* stream);
void silu_mul_cuda(const GateProductParams& params, void* stream);
void causal_conv1d_cuda(const SlotConvParams& params, void* stream);

}  // namespace pararnn
