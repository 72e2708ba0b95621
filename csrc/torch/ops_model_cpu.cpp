// Models behind integer handles: a step would otherwise pass hundreds of tensors.
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "model.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

// tensors keeps the memory that `weights` points to. One step at a time.
struct Model {
  ModelWeights weights;
  std::vector<Tensor> tensors;
  StepWorkspace workspace;
  std::vector<int64_t> tokens;
  std::vector<int64_t> rows;
  std::vector<int64_t> hidden_rows;
  std::mutex mutex;
};

class Models {
 public:
  int64_t add(std::shared_ptr<Model> model) {
    const std::lock_guard<std::mutex> lock(mutex_);
    models_[++last_] = std::move(model);
    return last_;
  }

  std::shared_ptr<Model> find(int64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = models_.find(handle);
    PARARNN_REQUIRE(found != models_.end(), "model: ", handle, " is no model, or was freed");
    return found->second;
  }

  // A step that runs keeps its model until it ends.
  void remove(int64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    models_.erase(handle);
  }

  static Models& all() {
    static Models* const instance = new Models;  // never destroyed: finalizers may run after main
    return *instance;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<Model>> models_;
  int64_t last_ = 0;
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

  PackedMatrix matrix(const char* name, const BlockShape& shape) {
    const Tensor& tensor = next(name);
    PARARNN_REQUIRE(format_place_ + 1 < formats_.size(), "formats: there is none for ", name);
    PackedMatrix matrix = described_matrix(formats_[format_place_], shape, formats_[format_place_ + 1]);
    format_place_ += 2;
    check_tensor(name, tensor, ScalarType::Byte, {packed_bytes(matrix)});
    matrix.data = tensor.const_data_ptr();
    return matrix;
  }

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

LayerWeights read_layer(WeightReader& reader, const ModelWeights& model, int64_t h) {
  const int64_t d = model.hidden, m = model.mlp_hidden, K = model.conv_width;
  const int64_t G = sizes_of(model.cell).gates, P = sizes_of(model.cell).peepholes;
  LayerWeights layer;
#define PARARNN_VECTOR(name, ...) layer.name = reader.vector(#name, {__VA_ARGS__});
#define PARARNN_OPTIONAL(name, ...) layer.name = reader.optional_vector(#name, {__VA_ARGS__});
#define PARARNN_MATRIX(name, ...) layer.name = reader.matrix(#name, {__VA_ARGS__});
  PARARNN_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_OPTIONAL, PARARNN_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_OPTIONAL
#undef PARARNN_MATRIX
  return layer;
}

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

// In the order of pararnn_core/state_layout.py.
StatePool read_pool(const ModelWeights& model, PartReader& parts) {
  const int64_t layers = int64_t(model.layers.size()), d = model.hidden;
  Tensor& cell = parts.per_layer("cell", ScalarType::Float, layers, {sizes_of(model.cell).states, d});
  Tensor& last_hidden = parts.per_slot("last_hidden", ScalarType::Float, {d});
  const ScalarType activations = parts.float_dtype();
  Tensor& conv = parts.per_layer("conv", activations, layers, {model.conv_width - 1, d});
  Tensor& seen = parts.per_slot("seen", ScalarType::Byte, {(model.vocab + 7) / 8});
  parts.finish();
  return {cell.mutable_data_ptr<float>(),
          cell.stride(0),
          cell.stride(1),
          conv.mutable_data_ptr(),
          conv.stride(0),
          conv.stride(1),
          activations == ScalarType::BFloat16 ? DType::kBFloat16 : DType::kFloat32,
          last_hidden.mutable_data_ptr<float>(),
          seen.mutable_data_ptr<uint8_t>(),
          seen.size(1)};
}

}  // namespace

int64_t model_create_op(std::vector<Tensor> tensors, std::vector<int64_t> formats, int64_t cell,
                        int64_t layers, int64_t hidden, int64_t mlp_hidden, int64_t heads, int64_t vocab,
                        int64_t conv_width, int64_t conv_activation, int64_t gate_order, bool mlp_residual,
                        double norm_eps) {
  PARARNN_REQUIRE(layers > 0 && hidden > 0 && mlp_hidden > 0 && heads > 0 && vocab > 0,
                  "model: no size may be 0");
  PARARNN_REQUIRE(hidden % heads == 0, "heads: ", heads, " do not divide ", hidden, " channels");
  PARARNN_REQUIRE(conv_width >= 2 && conv_width <= kMaxConvWidth, "conv_width: expected 2 to ", kMaxConvWidth,
                  ", got ", conv_width);
  auto model = std::make_shared<Model>();
  model->tensors = std::move(tensors);
  ModelWeights& weights = model->weights;
  weights = {check_cell(cell).kind,
             hidden,
             mlp_hidden,
             vocab,
             conv_width,
             check_choice<Activation>("conv_activation", conv_activation),
             check_choice<GateOrder>("gate_order", gate_order),
             mlp_residual,
             float(norm_eps),
             {},
             {},
             nullptr,
             {}};
  WeightReader reader(model->tensors, formats);
  weights.embedding = reader.matrix("embedding", {1, 1, hidden, vocab});
  for (int64_t layer = 0; layer < layers; ++layer)
    weights.layers.push_back(read_layer(reader, weights, heads));
  weights.norm = reader.vector("final norm", {hidden});
  weights.head = reader.matrix("head", {1, 1, hidden, vocab});
  reader.finish();
  return Models::all().add(std::move(model));
}

void model_free_op(int64_t model) { Models::all().remove(model); }

Tensor model_step_op(int64_t model, const Tensor& tokens, const Tensor& cu_seqlens, const Tensor& slots,
                     std::optional<Tensor> has_initial_state, std::optional<Tensor> logits_indices,
                     std::vector<Tensor> state, std::optional<Tensor> stage_seconds,
                     std::optional<Tensor> hidden_indices, std::optional<Tensor> hidden) {
  const std::shared_ptr<Model> shared = Models::all().find(model);
  const std::lock_guard<std::mutex> lock(shared->mutex);
  const ModelWeights& weights = shared->weights;
  PartReader parts(state);
  const StatePool pool = read_pool(weights, parts);
  read_indices("tokens", tokens, weights.vocab, shared->tokens);
  const int64_t count = int64_t(shared->tokens.size());
  const Sequences sequences = check_sequences(cu_seqlens, slots, has_initial_state, count, parts.slots());
  check_no_empty_sequence(sequences);
  if (logits_indices.has_value()) {
    read_indices("logits_indices", *logits_indices, count, shared->rows);
  } else {
    shared->rows.clear();
    for (int64_t s = 0; s < sequences.count; ++s) shared->rows.push_back(sequences.cu_seqlens[s + 1] - 1);
  }
  const int64_t num_rows = int64_t(shared->rows.size());
  PARARNN_REQUIRE(hidden_indices.has_value() == hidden.has_value(),
                  "hidden: it comes with hidden_indices, and they with it");
  shared->hidden_rows.clear();
  if (hidden.has_value()) {
    read_indices("hidden_indices", *hidden_indices, count, shared->hidden_rows);
    check_tensor("hidden", *hidden, ScalarType::Float, {int64_t(shared->hidden_rows.size()), weights.hidden});
  }
  if (stage_seconds.has_value()) check_tensor("stage_seconds", *stage_seconds, ScalarType::Double, {kStages});
  Tensor logits = empty_cpu({num_rows, weights.vocab});
  if (sequences.count == 0) return logits;
  model_step_cpu({weights, sequences, shared->tokens.data(), pool, num_rows, shared->rows.data(),
                  logits.mutable_data_ptr<float>(),
                  stage_seconds.has_value() ? stage_seconds->mutable_data_ptr<double>() : nullptr,
                  int64_t(shared->hidden_rows.size()), shared->hidden_rows.data(),
                  hidden.has_value() ? hidden->mutable_data_ptr<float>() : nullptr},
                 shared->workspace);
  return logits;
}

}  // namespace pararnn
