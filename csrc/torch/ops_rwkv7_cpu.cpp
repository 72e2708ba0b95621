#include "models/rwkv7_model.h"
#include "torch/native_model.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

class Rwkv7 : public NativeModel {
 public:
  using NativeModel::NativeModel;

  int64_t vocab() const override { return weights.vocab; }
  int64_t hidden() const override { return weights.hidden; }
  const std::vector<Tensor>& tensors() const { return tensors_; }

  // In the order of pararnn_core/models/rwkv7/state_layout.py.
  void read_pool(PartReader& parts) override {
    const int64_t layers = int64_t(weights.layers.size()), d = weights.hidden;
    Tensor& heads =
        parts.per_layer("heads", ScalarType::Float, layers, {d / kDeltaHead, kDeltaHead, kDeltaHead});
    Tensor& time_shift = parts.per_layer("time_shift", ScalarType::Float, layers, {d});
    Tensor& channel_shift = parts.per_layer("channel_shift", ScalarType::Float, layers, {d});
    Tensor& last_hidden = parts.per_slot("last_hidden", ScalarType::Float, {d});
    Tensor& seen = parts.per_slot("seen", ScalarType::Byte, {(weights.vocab + 7) / 8});
    parts.finish();
    pool_ = {heads.mutable_data_ptr<float>(),
             time_shift.mutable_data_ptr<float>(),
             channel_shift.mutable_data_ptr<float>(),
             parts.slots(),
             {last_hidden.mutable_data_ptr<float>(), seen.mutable_data_ptr<uint8_t>(), seen.size(1)}};
  }

  void step(const StepBatch& batch) override { rwkv7_step_cpu(weights, pool_, batch, workspace_); }

  Rwkv7Weights weights;

 private:
  Rwkv7Pool pool_;
};

Rwkv7Layer read_layer(WeightReader& reader, const Rwkv7Weights& model, bool is_first) {
  const int64_t d = model.hidden, f = model.channel_hidden, W = model.decay_rank, A = model.rate_rank;
  const int64_t V = is_first ? 0 : model.value_gate_rank, G = model.gate_rank, v = is_first ? 0 : d;
  Rwkv7Layer layer;
#define PARARNN_VECTOR(name, ...) layer.name = reader.vector(#name, {__VA_ARGS__});
#define PARARNN_MATRIX(name, inputs, outputs) layer.name = reader.matrix(#name, {1, 1, inputs, outputs});
  PARARNN_RWKV7_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_MATRIX
  return layer;
}

NormWeights read_norm(WeightReader& reader, const char* weight, const char* bias, int64_t d) {
  const float* const its_weight = reader.vector(weight, {d});
  return {its_weight, reader.vector(bias, {d})};
}

}  // namespace

int64_t rwkv7_create_op(std::vector<Tensor> tensors, std::vector<int64_t> formats, int64_t layers,
                        int64_t hidden, int64_t channel_hidden, int64_t decay_rank, int64_t rate_rank,
                        int64_t value_gate_rank, int64_t gate_rank, int64_t vocab, double norm_eps,
                        double head_norm_eps) {
  for (const int64_t size :
       {layers, hidden, channel_hidden, decay_rank, rate_rank, value_gate_rank, gate_rank, vocab})
    PARARNN_REQUIRE(size > 0, "model: no size may be 0");
  PARARNN_REQUIRE(hidden % kDeltaHead == 0, "hidden: expected a multiple of ", kDeltaHead, ", got ", hidden);
  auto model = std::make_shared<Rwkv7>(std::move(tensors));
  Rwkv7Weights& weights = model->weights;
  weights = {hidden,
             channel_hidden,
             decay_rank,
             rate_rank,
             value_gate_rank,
             gate_rank,
             vocab,
             float(norm_eps),
             float(head_norm_eps),
             {},
             {},
             {},
             {},
             {}};
  WeightReader reader(model->tensors(), formats);
  weights.embedding = reader.matrix("embedding", {1, 1, hidden, vocab});
  weights.first_norm = read_norm(reader, "first norm", "first norm's bias", hidden);
  for (int64_t layer = 0; layer < layers; ++layer)
    weights.layers.push_back(read_layer(reader, weights, layer == 0));
  weights.norm = read_norm(reader, "final norm", "final norm's bias", hidden);
  weights.head = reader.matrix("head", {1, 1, hidden, vocab});
  reader.finish();
  return add_model(std::move(model));
}

}  // namespace pararnn
