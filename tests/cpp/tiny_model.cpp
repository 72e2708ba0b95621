#include "tiny_model.h"

namespace pararnn {
namespace {

constexpr int64_t kHidden = 20, kMlp = 33, kHeads = 2, kVocab = 37, kLayers = 2, kConvWidth = 4;

void append(std::vector<uint8_t>& to, const void* from, int64_t bytes) {
  const uint8_t* const begin = static_cast<const uint8_t*>(from);
  to.insert(to.end(), begin, begin + bytes);
}

}  // namespace

TinyModel::TinyModel(const Level& level, CellKind cell, WeightFormat format, DType conv_dtype, Random& random)
    : level_(level), format_(format), conv_dtype_(conv_dtype), random_(random) {
  const CellSizes& sizes = sizes_of(cell);
  const bool gru = cell == CellKind::kGru;  // the other choices go along with the cell
  weights_ = {cell,
              kHidden,
              kMlp,
              kVocab,
              kConvWidth,
              gru ? Activation::kSilu : Activation::kNone,
              gru ? GateOrder::kGateThenNorm : GateOrder::kNormThenGate,
              gru,
              1e-6f,
              {},
              {},
              nullptr,
              {}};
  weights_.embedding = matrix({1, 1, kHidden, kVocab});
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    LayerWeights w{};
    w.norm = vector(kHidden, 1.0f);
    w.in_proj = matrix({1, 1, kHidden, 2 * kHidden});
    w.conv_taps = vector(kConvWidth * kHidden, 1.0f);
    w.conv_bias = vector(kHidden, 0.1f);
    w.cell_input = matrix({kHeads, sizes.gates, kHidden / kHeads, kHidden / kHeads});
    w.cell_bias = vector(sizes.gates * kHidden, 1.0f);
    w.a = sizes.recurrent > 0 ? vector(sizes.recurrent * kHidden, 0.5f) : nullptr;
    w.c = sizes.peepholes > 0 ? vector(sizes.peepholes * kHidden, 0.5f) : nullptr;
    w.gate_norm = vector(kHidden, 1.0f);
    w.out_proj = matrix({1, 1, kHidden, kHidden});
    w.residual_scale = gru ? vector(1, 1.0f) : nullptr;
    w.mlp_norm = vector(kHidden, 1.0f);
    w.gate_up = matrix({1, 2, kHidden, kMlp});
    w.down_proj = matrix({1, 1, kMlp, kHidden});
    weights_.layers.push_back(w);
  }
  weights_.norm = vector(kHidden, 1.0f);
  weights_.head = matrix({1, 1, kHidden, kVocab});
}

PackedMatrix TinyModel::matrix(const BlockShape& shape) {
  const Weight weight = is_quantized(format_) ? integer_weight(random_, shape, format_, kGroupStep)
                                              : float_weight(random_, shape, format_);
  matrices_.push_back(std::make_unique<Packed>(level_, weight));
  return matrices_.back()->matrix();
}

const float* TinyModel::vector(int64_t count, float size) {
  vectors_.push_back(std::make_unique<Exact<float>>(random_.numbers(count, size)));
  return vectors_.back()->data();
}

TinyPool::TinyPool(const TinyModel& model, int64_t slots)
    : model_(model),
      slots_(slots),
      conv_bytes_((kConvWidth - 1) * kHidden * (model.conv_dtype() == DType::kFloat32 ? 4 : 2)),
      seen_stride_((kVocab + 7) / 8),
      cell_(kLayers * slots * model.states() * kHidden),
      conv_(kLayers * slots * conv_bytes_),
      last_hidden_(slots * kHidden),
      seen_(slots * seen_stride_) {}

StatePool TinyPool::pool() {
  const int64_t cell_slot = model_.states() * kHidden, conv_slot = (kConvWidth - 1) * kHidden;
  return {cell_.data(),        slots_ * cell_slot,
          cell_slot,           conv_.data(),
          slots_ * conv_slot,  conv_slot,
          model_.conv_dtype(), {last_hidden_.data(), seen_.data(), seen_stride_}};
}

std::vector<uint8_t> TinyPool::slot(int64_t index) {
  std::vector<uint8_t> all;
  const int64_t cell_slot = model_.states() * kHidden;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    append(all, cell_.data() + (layer * slots_ + index) * cell_slot, cell_slot * 4);
    append(all, conv_.data() + (layer * slots_ + index) * conv_bytes_, conv_bytes_);
  }
  append(all, last_hidden_.data() + index * kHidden, kHidden * 4);
  append(all, seen_.data() + index * seen_stride_, seen_stride_);
  return all;
}

}  // namespace pararnn
