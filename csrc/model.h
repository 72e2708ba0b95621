// A whole model as the CPU reads it: what one step is told. Nothing here knows Torch.
#pragma once

#include <cstdint>
#include <vector>

#include "params/params.h"

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
  float* last_hidden;  // (slots, d)
  uint8_t* seen;       // (slots, seen_stride) bitmaps
  int64_t seen_stride;
};

// What a step spends its time on, in the order of the first layer.
enum class Stage {
  kEmbedding,
  kNorms,
  kInProj,
  kConvolution,
  kCellInput,
  kRecurrence,
  kGate,
  kOutProj,
  kResiduals,
  kGateUp,
  kSiluMul,
  kDownProj,
  kFinalRows,
  kHead,
};
constexpr int64_t kStages = int64_t(Stage::kHead) + 1;

// One packed batch. tokens (T); logits (M, V) of the rows `rows` (M) of the batch; hidden (K, d): of the rows
// `hidden_rows` (K), what the head would read.
struct StepParams {
  const ModelWeights& model;
  Sequences sequences;
  const int64_t* tokens;
  StatePool pool;
  int64_t num_rows;
  const int64_t* rows;
  float* logits;
  double* stage_seconds;  // (kStages), each is added to; null: not wanted
  int64_t num_hidden = 0;
  const int64_t* hidden_rows = nullptr;
  float* hidden = nullptr;
};

// Memory of a step, kept from call to call.
struct StepWorkspace {
  std::vector<float> floats;
  std::vector<int64_t> rows;
};

// Embedding to logits, for at least one sequence, none of them empty; the states, last_hidden and seen of
// every sequence that has a slot move on. Allocates only where `workspace` never held so many rows.
void model_step_cpu(const StepParams& params, StepWorkspace& workspace);

}  // namespace pararnn
