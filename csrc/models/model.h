// A whole ParaRNN as the CPU reads it.
#pragma once

#include "models/step.h"

namespace pararnn {

// The tensors of a layer, in the order in which model_create takes them: matrices packed, vectors float32.
// Sizes after the names: of a vector its shape, of a matrix heads, gates, inputs and outputs; a tensor with a
// size of 0 does not exist, and its pointer is null. d channels, m inside of the MLP, h heads, K taps, G
// gates, P peepholes, R recurrent rows, k channels of the convolution, g of the gate's norm. conv_taps: the
// last tap meets the newest row. gate_up: two matrices as the gates of one. OPTIONAL: residual_scale null is
// 1; a norm that is null changes nothing; a projection that is null is the identity.
#define PARARNN_LAYER_TENSORS(VECTOR, OPTIONAL, MATRIX, OPTIONAL_MATRIX)    \
  OPTIONAL(norm, d)                                                         \
  OPTIONAL_MATRIX(in_proj, 1, 1, d, has_gate(model.gate_order) ? 2 * d : d) \
  VECTOR(conv_taps, K, k)                                                   \
  VECTOR(conv_bias, k)                                                      \
  MATRIX(cell_input, h, G, d / h, d / h)                                    \
  VECTOR(cell_bias, G, d)                                                   \
  VECTOR(a, R, d)                                                           \
  VECTOR(c, P, d)                                                           \
  VECTOR(gate_norm, g)                                                      \
  OPTIONAL_MATRIX(out_proj, 1, 1, d, d)                                     \
  OPTIONAL(residual_scale, 1)                                               \
  OPTIONAL(mlp_norm, d)                                                     \
  MATRIX(gate_up, 1, 2, d, m)                                               \
  MATRIX(down_proj, 1, 1, m, d)

struct LayerWeights {
#define PARARNN_VECTOR(name, ...) const float* name;
#define PARARNN_MATRIX(name, ...) PackedMatrix name;
  PARARNN_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_VECTOR, PARARNN_MATRIX, PARARNN_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_MATRIX
};

struct ModelWeights {
  CellKind cell;
  int64_t hidden;
  int64_t mlp_hidden;  // 0: no MLP
  int64_t vocab;
  int64_t conv_width;  // 0: no convolution
  Activation conv_activation;
  GateOrder gate_order;
  bool mlp_residual;
  float norm_eps;
  PackedMatrix embedding;
  std::vector<LayerWeights> layers;
  const float* norm;  // null: none
  PackedMatrix head;
  const float* head_bias = nullptr;  // (vocab) or null
};

// The pool. Of layer l, slot i, row n: cell (n-th state) or conv (n-th oldest) at l * layer_stride +
// i * slot_stride + n * D. conv is null for a model without a convolution.
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
