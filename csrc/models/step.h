// One step of a model of any architecture, as the CPU runs it. Nothing here knows Torch.
#pragma once

#include <vector>

#include "params/params.h"

namespace pararnn {

// What a step spends its time on, in the order of a layer. Architectures with other parts count each at the
// stage that it resembles.
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
struct StepBatch {
  Sequences sequences;
  const int64_t* tokens;
  int64_t num_rows;
  const int64_t* rows;
  float* logits;
  double* stage_seconds;  // (kStages), each is added to; null: not wanted
  int64_t num_hidden = 0;
  const int64_t* hidden_rows = nullptr;
  float* hidden = nullptr;
};

// The parts of a pool that every architecture has.
struct OutcomePool {
  float* last_hidden;  // (slots, d)
  uint8_t* seen;       // (slots, seen_stride) bitmaps
  int64_t seen_stride;
};

// Memory of a step, kept from call to call.
struct StepWorkspace {
  std::vector<float> floats;
  std::vector<int64_t> rows;
};

}  // namespace pararnn
