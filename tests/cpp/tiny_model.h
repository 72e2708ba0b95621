// A whole model of random weights, packed by one level, and pools of states for it, all in memory of exact
// size.
#pragma once

#include <memory>
#include <vector>

#include "models/model.h"
#include "weights.h"

namespace pararnn {

class TinyModel {
 public:
  TinyModel(const Level& level, CellKind cell, WeightFormat format, DType conv_dtype, Random& random);

  const ModelWeights& weights() const { return weights_; }
  DType conv_dtype() const { return conv_dtype_; }
  int64_t states() const { return sizes_of(weights_.cell).states; }

 private:
  PackedMatrix matrix(const BlockShape& shape);
  const float* vector(int64_t count, float size);

  const Level& level_;
  const WeightFormat format_;
  const DType conv_dtype_;
  Random& random_;
  std::vector<std::unique_ptr<Packed>> matrices_;
  std::vector<std::unique_ptr<Exact<float>>> vectors_;
  ModelWeights weights_{};
};

// Slots of a TinyModel. A slot starts with whatever memory holds.
class TinyPool {
 public:
  TinyPool(const TinyModel& model, int64_t slots);

  StatePool pool();
  // Everything that belongs to a slot.
  std::vector<uint8_t> slot(int64_t index);

 private:
  const TinyModel& model_;
  const int64_t slots_;
  const int64_t conv_bytes_;  // of a layer of a slot
  const int64_t seen_stride_;
  Exact<float> cell_;
  Exact<uint8_t> conv_;
  Exact<float> last_hidden_;
  Exact<uint8_t> seen_;
};

}  // namespace pararnn
