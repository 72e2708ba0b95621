#include "models/model.h"
#include "torch/native_model.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

LayerWeights read_layer(WeightReader& reader, const ModelWeights& model, int64_t h) {
  const int64_t d = model.hidden, m = model.mlp_hidden, K = model.conv_width;
  const auto& [kind, name, G, N, P, R] = sizes_of(model.cell);
  const int64_t k = K > 0 ? d : 0, g = model.gate_order != GateOrder::kNone ? d : 0;
  LayerWeights layer;
#define PARARNN_VECTOR(name, ...) layer.name = reader.vector(#name, {__VA_ARGS__});
#define PARARNN_OPTIONAL(name, ...) layer.name = reader.optional_vector(#name, {__VA_ARGS__});
#define PARARNN_MATRIX(name, ...) layer.name = reader.matrix(#name, {__VA_ARGS__});
#define PARARNN_OPTIONAL_MATRIX(name, ...) layer.name = reader.optional_matrix(#name, {__VA_ARGS__});
  PARARNN_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_OPTIONAL, PARARNN_MATRIX, PARARNN_OPTIONAL_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_OPTIONAL
#undef PARARNN_MATRIX
#undef PARARNN_OPTIONAL_MATRIX
  PARARNN_REQUIRE(!has_gate(model.gate_order) || layer.in_proj.data != nullptr,
                  "in_proj: a gate needs it, but it has no elements");
  return layer;
}

// In the order of pararnn_core/state_layout.py.
StatePool read_pool(const ModelWeights& model, PartReader& parts) {
  const int64_t layers = int64_t(model.layers.size()), d = model.hidden;
  Tensor& cell = parts.per_layer("cell", ScalarType::Float, layers, {sizes_of(model.cell).states, d});
  Tensor& last_hidden = parts.per_slot("last_hidden", ScalarType::Float, {d});
  const ScalarType activations = parts.float_dtype();
  Tensor* const conv = model.conv_width == 0
                           ? nullptr
                           : &parts.per_layer("conv", activations, layers, {model.conv_width - 1, d});
  Tensor& seen = parts.per_slot("seen", ScalarType::Byte, {(model.vocab + 7) / 8});
  parts.finish();
  return {cell.mutable_data_ptr<float>(),
          cell.stride(0),
          cell.stride(1),
          conv == nullptr ? nullptr : conv->mutable_data_ptr(),
          conv == nullptr ? 0 : conv->stride(0),
          conv == nullptr ? 0 : conv->stride(1),
          activations == ScalarType::BFloat16 ? DType::kBFloat16 : DType::kFloat32,
          {last_hidden.mutable_data_ptr<float>(), seen.mutable_data_ptr<uint8_t>(), seen.size(1)}};
}

class ParaRnn : public NativeModel {
 public:
  using NativeModel::NativeModel;

  int64_t vocab() const override { return weights.vocab; }
  int64_t hidden() const override { return weights.hidden; }
  const std::vector<Tensor>& tensors() const { return tensors_; }

  void read_pool(PartReader& parts) override { pool_ = pararnn::read_pool(weights, parts); }
  void step(const StepBatch& batch) override { model_step_cpu(weights, pool_, batch, workspace_); }

  ModelWeights weights;

 private:
  StatePool pool_;
};

}  // namespace

int64_t model_create_op(std::vector<Tensor> tensors, std::vector<int64_t> formats, int64_t cell,
                        int64_t layers, int64_t hidden, int64_t mlp_hidden, int64_t heads, int64_t vocab,
                        int64_t conv_width, int64_t conv_activation, int64_t gate_order, bool mlp_residual,
                        double norm_eps) {
  PARARNN_REQUIRE(layers > 0 && hidden > 0 && mlp_hidden >= 0 && heads > 0 && vocab > 0,
                  "model: no size but that of the MLP may be 0");
  PARARNN_REQUIRE(hidden % heads == 0, "heads: ", heads, " do not divide ", hidden, " channels");
  PARARNN_REQUIRE(conv_width == 0 || (conv_width >= 2 && conv_width <= kMaxConvWidth),
                  "conv_width: expected 0, or 2 to ", kMaxConvWidth, ", got ", conv_width);
  auto model = std::make_shared<ParaRnn>(std::move(tensors));
  ModelWeights& weights = model->weights;
  weights = {check_cell(cell).kind,
             hidden,
             mlp_hidden,
             vocab,
             conv_width,
             check_choice<Activation>("conv_activation", conv_activation),
             check_choice<GateOrder>("gate_order", gate_order, kGateOrders),
             mlp_residual,
             float(norm_eps),
             {},
             {},
             nullptr,
             {}};
  WeightReader reader(model->tensors(), formats);
  weights.embedding = reader.matrix("embedding", {1, 1, hidden, vocab});
  for (int64_t layer = 0; layer < layers; ++layer)
    weights.layers.push_back(read_layer(reader, weights, heads));
  weights.norm = reader.optional_vector("final norm", {hidden});
  weights.head = reader.matrix("head", {1, 1, hidden, vocab});
  if (reader.has_more()) weights.head_bias = reader.vector("head's bias", {vocab});
  reader.finish();
  return add_model(std::move(model));
}

}  // namespace pararnn
