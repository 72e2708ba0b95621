// What a kernel is told: sizes, strides (in elements) and pointers. Nothing here knows Torch.
#pragma once

#include <cstdint>

namespace pararnn {

constexpr int32_t kPadSlotId = -1;

enum class CellKind { kGru, kLstm };

// S sequences packed end to end: sequence s owns rows cu_seqlens[s] .. cu_seqlens[s + 1].
// Without `slots` sequence s uses state row s. A sequence in kPadSlotId is skipped and its outputs are 0.
struct Sequences {
  int64_t count;
  const int32_t* cu_seqlens;
  const int32_t* slots;
  const bool* has_initial_state;
};

// bx (T, 3, D); a (3, D); c (2, D) for the LSTM; states of slot i, row n at i * slot_stride + n * row_stride.
struct RecurrenceParams {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  const float* bx;
  const float* a;
  const float* c;
  const float* initial_state;
  float* final_state;  // may be initial_state; null: not wanted
  int64_t slot_stride;
  int64_t row_stride;
  float* states;  // (T, N, D) or null
  float* y;       // (T, D), the last state row, or null
};

// Contiguous: initial_state (S, N, D); states, grad_states (T, N, D); bx, grad_bx (T, 3, D).
// grad_parameters (S, 3 + P, D) takes one sum per sequence: rows of a, then the P rows of c.
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

// out[i] = sum over r of in[r * stride + i] for i < size, in the order of r.
struct SumRowsParams {
  int64_t rows;
  int64_t size;
  int64_t stride;
  const float* in;
  float* out;
};

}  // namespace pararnn
