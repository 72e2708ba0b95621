// A whole ParaRNN as the CPU reads it.
#pragma once

#include "step.h"

namespace pararnn {

// The tensors of a layer, in the order in which model_create takes them: matrices packed, vectors float32.
// Sizes after the names: of a vector its shape (null where one of them is 0), of a matrix heads, gates,
// inputs and outputs; d channels, m inside of the MLP, h heads, K taps, G gates, P peepholes. conv_taps: the
// last tap meets the newest row. OPTIONAL: null stands for 1. gate_up: two matrices as the gates of one.
#define PARARNN_LAYER_TENSORS(VECTOR, OPTIONAL, MATRIX) \
  VECTOR(norm, d)                                       \
  MATRIX(in_proj, 1, 1, d, 2 * d)                       \
  VECTOR(conv_taps, K, d)                               \
  VECTOR(conv_bias, d)                                  \
  MATRIX(cell_input, h, G, d / h, d / h)                \
  VECTOR(cell_bias, G, d)                               \
  VECTOR(a, G, d)                                       \
  VECTOR(c, P, d)                                       \
  VECTOR(gate_norm, d)                                  \
  MATRIX(out_proj, 1, 1, d, d)                          \
  OPTIONAL(residual_scale, 1)                           \
  VECTOR(mlp_norm, d)                                   \
  MATRIX(gate_up, 1, 2, d, m)                           \
  MATRIX(down_proj, 1, 1, m, d)

struct LayerWeights {
#define PARARNN_VECTOR(name, ...) const float* name;
#define PARARNN_MATRIX(name, ...) PackedMatrix name;
  PARARNN_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_VECTOR, PARARNN_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_MATRIX
};

struct ModelWeights {
  CellKind cell;
  int64_t hidden;
  int64_t mlp_hidden;
  int64_t vocab;
  int64_t conv_width;
  Activation conv_activation;
  GateOrder gate_order;
  bool mlp_residual;
  float norm_eps;
  PackedMatrix embedding;
  std::vector<LayerWeights> layers;
  const float* norm;
  PackedMatrix head;
};

// The pool. Of layer l, slot i, row n: cell (n-th state) or conv (n-th oldest) at l * layer_stride +
// i * slot_stride + n * D.
struct StatePool {
  float* cell;
  int64_t cell_layer_stride;
  int64_t cell_slot_stride;
  void* conv;
  int64_t conv_layer_stride;
  int64_t conv_slot_stride;
  DType conv_dtype;
  OutcomePool outcome;
};

// Embedding to logits, for at least one sequence, none of them empty; the states, last_hidden and seen of
// every sequence that has a slot move on. Allocates only where `workspace` never held so many rows.
void model_step_cpu(const ModelWeights& model, const StatePool& pool, const StepBatch& batch,
                    StepWorkspace& workspace);

}  // namespace pararnn
