// Every CPU kernel: `name_cpu(params)` runs it at the instruction set level of this process.
#pragma once

#include "params.h"

#define PARARNN_CPU_KERNELS(X)                     \
  X(recurrence, RecurrenceParams)                  \
  X(recurrence_backward, RecurrenceBackwardParams) \
  X(sum_rows, SumRowsParams)

namespace pararnn {

#define PARARNN_DECLARE(name, Params) void name##_cpu(const Params& params);
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
#undef PARARNN_DECLARE

}  // namespace pararnn
