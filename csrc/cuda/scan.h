// The scans of a GPU: what they are told, on the host, and how they are started.
#pragma once

#include "../params.h"

namespace pararnn {

// As RecurrenceParams, all pointers to memory of the GPU; bx (T, 3, D) in either dtype, everything else and
// all arithmetic float32. Nobody checks cu_seqlens and slots there: looking at them would stop the stream.
struct ScanParams {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  DType bx_dtype;
  const void* bx;
  const float* a;
  const float* c;
  const float* initial_state;
  float* final_state;  // may be initial_state; null: not wanted
  int64_t slot_stride;
  int64_t row_stride;
  float* states;  // (T, N, D) or null
  float* y;       // (T, D), the last state row, or null
};

// stream: a cudaStream_t of the device that is current.
void sequential_scan_cuda(const ScanParams& params, void* stream);

}  // namespace pararnn
