// The recurrences of a cell, and linear ones.
#pragma once

#include "params/cells.h"
#include "params/sequences.h"

namespace pararnn {

// bx (T, G, D) in bx_dtype, to each row of which bias (G, D) is added, null: 0; a (R, D); c (P, D), null
// without peepholes; states of slot i, row n at i * slot_stride + n * row_stride. A CPU takes float32 bx
// without a bias.
struct RecurrenceParams {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  DType bx_dtype;
  const void* bx;
  const float* bias;
  const float* a;
  const float* c;
  const float* initial_state;
  float* final_state;  // may be initial_state; null: not wanted
  int64_t slot_stride;
  int64_t row_stride;
  float* states;  // (T, N, D) or null
  float* y;       // (T, D), the last state row, or null
};

// Contiguous: initial_state (S, N, D); states, grad_states (T, N, D); bx, grad_bx (T, G, D).
// grad_parameters (S, R + P, D) takes one sum per sequence: the R rows of a, then the P rows of c.
struct RecurrenceBackwardParams {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  const float* bx;
  const float* a;
  const float* c;
  const float* initial_state;
  const float* states;
  const float* grad_states;
  float* grad_bx;
  float* grad_initial_state;
  float* grad_parameters;
};

// Newton's method on tiles of time, on a GPU. Of each sequence: the bits of the largest |f(h_{t-1}) - h_t| /
// (1 + |h_t|), those of NaN where a state is not finite (as integers they order as the floats do, NaN above
// all); the most updates that any of its tiles took; how many units (channel, tile) were finished step by
// step, because max_iterations updates did not bring update and residual down to tolerance * (1 + |h|).
struct NewtonParams {
  RecurrenceParams scan;
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

}  // namespace pararnn
