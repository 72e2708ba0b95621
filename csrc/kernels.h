// Every kernel: `name_cpu(params)` runs it at the instruction set level of this process, `name_cuda(params,
// stream)` starts it on a stream (a cudaStream_t) of the device that is current.
#pragma once

#include "params/params.h"

#define PARARNN_CPU_KERNELS(X)                     \
  X(recurrence, RecurrenceParams)                  \
  X(recurrence_backward, RecurrenceBackwardParams) \
  X(sum_rows, SumRowsParams)                       \
  X(linear, LinearParams)                          \
  X(embedding, EmbeddingParams)                    \
  X(pack_matrix, PackParams)                       \
  X(unpack_matrix, PackParams)                     \
  X(rms_norm, RmsNormParams)                       \
  X(gated_rms_norm, GatedRmsNormParams)            \
  X(silu_mul, SiluMulParams)                       \
  X(add_scaled, AddScaledParams)                   \
  X(causal_conv1d, CausalConvParams)               \
  X(layer_norm, LayerNormParams)                   \
  X(apply, ApplyParams)                            \
  X(token_shift, TokenShiftParams)                 \
  X(delta_rule, DeltaRuleParams)                   \
  X(read_bytes, ReadBytesParams)                   \
  X(multiply_add, MultiplyAddParams)               \
  X(sample, SampleParams)                          \
  X(token_logprobs, TokenLogprobsParams)

#define PARARNN_CUDA_KERNELS(X)         \
  X(sequential_scan, RecurrenceParams)  \
  X(newton_scan, NewtonParams)          \
  X(linear_scan, LinearScanParams)      \
  X(row_product, RowProductParams)      \
  X(dequantize, DequantizeParams)       \
  X(add_rms_norm, AddRmsNormParams)     \
  X(gated_rms_norm, GatedRmsNormParams) \
  X(silu_mul, SiluMulParams)            \
  X(causal_conv1d, CausalConvParams)    \
  X(sample, SampleParams)

namespace pararnn {

#define PARARNN_DECLARE(name, Params) void name##_cpu(const Params& params);
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
#undef PARARNN_DECLARE

#define PARARNN_DECLARE(name, Params) void name##_cuda(const Params& params, void* stream);
PARARNN_CUDA_KERNELS(PARARNN_DECLARE)
#undef PARARNN_DECLARE

// Asks for huge pages under a buffer that is about to be filled: decoding reads every weight once per token,
// and with small pages much of that time goes to address translation.
void advise_huge_pages(void* data, int64_t bytes);

}  // namespace pararnn
