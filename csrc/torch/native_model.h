// Models behind integer handles: a step would otherwise pass hundreds of tensors. What an architecture adds
// is how its tensors and the parts of its states are read, and its step.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "models/step.h"
#include "torch/checks.h"

namespace pararnn {

// Takes the parts of a pool one by one, in the order of the model's layout; all have the same slots.
class PartReader {
 public:
  explicit PartReader(std::vector<Tensor>& parts) : parts_(parts) {}

  int64_t slots() const { return slots_; }

  // (slots, ...); shape: of one slot.
  Tensor& per_slot(const char* name, ScalarType dtype, std::vector<int64_t> shape) {
    return next(name, dtype, {}, shape);
  }

  // (layers, slots, ...); shape: of one layer of one slot.
  Tensor& per_layer(const char* name, ScalarType dtype, int64_t layers, std::vector<int64_t> shape) {
    return next(name, dtype, {layers}, shape);
  }

  // Of the part that comes next.
  ScalarType float_dtype() const {
    const bool narrow = place_ < parts_.size() && parts_[place_].scalar_type() == ScalarType::BFloat16;
    return narrow ? ScalarType::BFloat16 : ScalarType::Float;
  }

  void finish() const {
    PARARNN_REQUIRE(place_ == parts_.size(), "state: expected ", place_, " parts, got ", parts_.size());
  }

 private:
  Tensor& next(const char* name, ScalarType dtype, std::vector<int64_t> shape,
               const std::vector<int64_t>& of_slot) {
    PARARNN_REQUIRE(place_ < parts_.size(), "state: ", name, " is missing");
    Tensor& part = parts_[place_++];
    const size_t slots_at = shape.size();
    shape.push_back(slots_);
    shape.insert(shape.end(), of_slot.begin(), of_slot.end());
    check_tensor(name, part, dtype, shape);
    slots_ = part.size(int64_t(slots_at));
    return part;
  }

  std::vector<Tensor>& parts_;
  size_t place_ = 0;
  int64_t slots_ = kAnySize;
};

// Takes tensors and formats one by one, in the order in which model_create's schema lists them.
class WeightReader {
 public:
  WeightReader(const std::vector<Tensor>& tensors, const std::vector<int64_t>& formats)
      : tensors_(tensors), formats_(formats) {}

  // Null, and a tensor without elements, where a size is 0.
  const float* vector(const char* name, std::initializer_list<int64_t> shape) {
    const Tensor& tensor = next(name);
    for (const int64_t size : shape) {
      if (size > 0) continue;
      PARARNN_REQUIRE(tensor.numel() == 0, name, ": expected no elements, got ", tensor.numel());
      return nullptr;
    }
    check_tensor(name, tensor, ScalarType::Float, shape);
    return tensor.const_data_ptr<float>();
  }

  // The same, and null where the tensor has no elements.
  const float* optional_vector(const char* name, std::initializer_list<int64_t> shape) {
    if (place_ < tensors_.size() && tensors_[place_].numel() == 0) return vector(name, {0});
    return vector(name, shape);
  }

  // Its data is null, and the tensor without elements, where a size is 0.
  PackedMatrix matrix(const char* name, const BlockShape& shape) {
    const Tensor& tensor = next(name);
    if (shape.heads == 0 || shape.gates == 0 || shape.inputs == 0 || shape.outputs == 0) {
      PARARNN_REQUIRE(tensor.numel() == 0, name, ": expected no elements, got ", tensor.numel());
      return {};
    }
    PARARNN_REQUIRE(format_place_ + 1 < formats_.size(), "formats: there is none for ", name);
    PackedMatrix matrix = described_matrix(formats_[format_place_], shape, formats_[format_place_ + 1]);
    format_place_ += 2;
    check_tensor(name, tensor, ScalarType::Byte, {packed_bytes(matrix)});
    matrix.data = tensor.const_data_ptr();
    return matrix;
  }

  // The same, and without data where the tensor has no elements.
  PackedMatrix optional_matrix(const char* name, const BlockShape& shape) {
    if (place_ < tensors_.size() && tensors_[place_].numel() == 0) return matrix(name, {});
    return matrix(name, shape);
  }

  bool has_more() const { return place_ < tensors_.size(); }

  void finish() const {
    PARARNN_REQUIRE(place_ == tensors_.size(), "tensors: expected ", place_, ", got ", tensors_.size());
    PARARNN_REQUIRE(format_place_ == formats_.size(), "formats: expected ", format_place_, " numbers, got ",
                    formats_.size());
  }

 private:
  const Tensor& next(const char* name) {
    PARARNN_REQUIRE(place_ < tensors_.size(), "tensors: ", name, " is missing");
    return tensors_[place_++];
  }

  const std::vector<Tensor>& tensors_;
  const std::vector<int64_t>& formats_;
  size_t place_ = 0;
  size_t format_place_ = 0;
};

// One step at a time, under `mutex`.
class NativeModel {
 public:
  explicit NativeModel(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}
  virtual ~NativeModel() = default;

  virtual int64_t vocab() const = 0;
  virtual int64_t hidden() const = 0;

  // Checks the parts of a pool, whose memory the next step uses.
  virtual void read_pool(PartReader& parts) = 0;
  virtual void step(const StepBatch& batch) = 0;

  std::vector<int64_t> tokens;
  std::vector<int64_t> rows;
  std::vector<int64_t> hidden_rows;
  std::mutex mutex;

 protected:
  const std::vector<Tensor> tensors_;  // keeps the memory that the weights point to
  StepWorkspace workspace_;
};

// Returns the handle.
int64_t add_model(std::shared_ptr<NativeModel> model);

}  // namespace pararnn
