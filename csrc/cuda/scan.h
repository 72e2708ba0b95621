// The scans of a GPU: what they are told, on the host, and how they are started.
#pragma once

#include "../params.h"

namespace pararnn {

// All pointers to memory of the GPU; bx in either dtype, everything else and all arithmetic float32. Nobody
// checks cu_seqlens and slots there: looking at them would stop the stream.
struct ScanParams : Recurrence<void> {
  DType bx_dtype;
  const float* bias;  // (G, D), added to every row of bx; null: 0
};

// Newton's method on tiles of time. Of each sequence: the bits of the largest |f(h_{t-1}) - h_t| / (1 +
// |h_t|), those of NaN where a state is not finite (as integers they order as the floats do, NaN above all);
// the most updates that any of its tiles took; how many units (channel, tile) were finished step by step,
// because max_iterations updates did not bring update and residual down to tolerance * (1 + |h|).
struct NewtonParams {
  ScanParams scan;
  float tolerance;
  int32_t max_iterations;
  int32_t time_warps;  // of a channel, 128 steps each: 1, 2 or 4; 0: what fills the chip
  uint32_t* residual;
  int32_t* iterations;
  int32_t* fallbacks;
};

// x_t = jacobian_t x_{t-1} + source_t of every sequence, from x before its first step. Reverse, what a
// gradient takes: x_t = source_t + v_{t+1} with v_t = jacobian_t^T x_t, from v after its last step.
struct LinearScanParams {
  int64_t states;  // N
  Sequences sequences;
  int64_t channels;
  bool reverse;
  const float* jacobian;  // (T, N, N, D)
  const float* source;    // (T, N, D)
  const float* entry;     // (S, N, D): x before the first step, v after the last; null: 0
  float* x;               // (T, N, D)
  float* exit;            // (S, N, D): the last x, the first v
};

// stream: a cudaStream_t of the device that is current.
void sequential_scan_cuda(const ScanParams& params, void* stream);
void newton_scan_cuda(const NewtonParams& params, void* stream);
void linear_scan_cuda(const LinearScanParams& params, void* stream);

}  // namespace pararnn
