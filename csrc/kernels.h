// Every CPU kernel: `name_cpu(params)` runs it at the instruction set level of this process.
#pragma once

#include "params.h"

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
  X(read_bytes, ReadBytesParams)                   \
  X(multiply_add, MultiplyAddParams)               \
  X(sample, SampleParams)                          \
  X(token_logprobs, TokenLogprobsParams)

namespace pararnn {

#define PARARNN_DECLARE(name, Params) void name##_cpu(const Params& params);
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
#undef PARARNN_DECLARE

// Asks for huge pages under a buffer that is about to be filled: decoding reads every weight once per token,
// and with small pages much of that time goes to address translation.
void advise_huge_pages(void* data, int64_t bytes);

}  // namespace pararnn
