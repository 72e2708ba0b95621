// A whole model as the CPU reads it: what one step is told. Nothing here knows Torch.
#pragma once

#include <cstdint>
#include <vector>

#include "params.h"

namespace pararnn {

// Matrices packed, vectors float32; c null without peepholes, residual_scale null for 1.
struct LayerWeights {
  const float* norm;
  PackedMatrix in_proj;
  const float* conv_taps;  // (K, D)
  const float* conv_bias;
  PackedMatrix cell_input;
  const float* cell_bias;
  const float* a;
  const float* c;
  const float* gate_norm;
  PackedMatrix out_proj;
  const float* residual_scale;
  const float* mlp_norm;
  PackedMatrix gate_up;  // two gates of one matrix
  PackedMatrix down_proj;
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

// One packed batch. tokens (T); logits (M, V) of the rows `rows` (M) of the batch.
struct StepParams {
  const ModelWeights& model;
  Sequences sequences;
  const int64_t* tokens;
  StatePool pool;
  int64_t num_rows;
  const int64_t* rows;
  float* logits;
  double* stage_seconds;  // (kStages), each is added to; null: not wanted
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
