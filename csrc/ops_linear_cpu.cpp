#include <vector>

#include "checks.h"
#include "kernels.h"
#include "ops.h"

namespace pararnn {
namespace {

constexpr int64_t kGates = 3;

void check_shape(const BlockShape& shape) {
  PARARNN_REQUIRE(shape.heads > 0 && shape.inputs > 0 && shape.outputs > 0, "weight: no dimension may be 0");
}

// The strides of a contiguous (O, I) matrix and of a contiguous (H, Din/H, 3, D/H) block weight.
PackParams matrix_layout(int64_t outputs, int64_t inputs) {
  const BlockShape shape{1, 1, inputs, outputs};
  check_shape(shape);
  return {shape, 0, 0, 1, inputs, 0, nullptr, nullptr};
}

PackParams block_layout(int64_t heads, int64_t inputs, int64_t outputs) {
  const BlockShape shape{heads, kGates, inputs, outputs};
  check_shape(shape);
  return {shape, inputs * kGates * outputs, outputs, kGates * outputs, 1, 0, nullptr, nullptr};
}

// The same, given what all heads have together.
PackParams shared_layout(int64_t heads, int64_t in_features, int64_t channels) {
  PARARNN_REQUIRE(heads > 0 && in_features % heads == 0 && channels % heads == 0, "num_heads: must divide ",
                  in_features, " and ", channels, ", got ", heads);
  return block_layout(heads, in_features / heads, channels / heads);
}

Tensor pack(PackParams params, const Tensor& weight) {
  Tensor packed = empty_cpu({packed_size(params.shape)}, weight.scalar_type());
  params.element_size = int64_t(weight.element_size());
  params.plain = const_cast<void*>(weight.const_data_ptr());
  params.packed = packed.mutable_data_ptr();
  pack_cpu(params);
  return packed;
}

Tensor unpack(PackParams params, const Tensor& packed, std::initializer_list<int64_t> shape) {
  check_weight("packed", packed, {packed_size(params.shape)});
  Tensor weight = empty_cpu(shape, packed.scalar_type());
  params.element_size = int64_t(packed.element_size());
  params.plain = weight.mutable_data_ptr();
  params.packed = const_cast<void*>(packed.const_data_ptr());
  unpack_cpu(params);
  return weight;
}

// x and out are checked by the caller, who needs their rows.
void multiply(const BlockShape& shape, const Tensor& x, const Tensor& packed, const float* bias,
              Tensor& out) {
  const DType dtype = check_weight("packed", packed, {packed_size(shape)});
  linear_cpu({shape, x.size(0), x.const_data_ptr<float>(), dtype, packed.const_data_ptr(), bias,
              out.mutable_data_ptr<float>()});
}

std::vector<int64_t> read_tokens(const Tensor& tokens, int64_t vocab_size) {
  const bool narrow = tokens.scalar_type() == ScalarType::Int;
  check_tensor("tokens", tokens, narrow ? ScalarType::Int : ScalarType::Long, {kAnySize});
  std::vector<int64_t> ids(size_t(tokens.size(0)));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = narrow ? tokens.const_data_ptr<int32_t>()[i] : tokens.const_data_ptr<int64_t>()[i];
    PARARNN_REQUIRE(ids[i] >= 0 && ids[i] < vocab_size, "tokens: ", ids[i], " is not in [0, ", vocab_size,
                    ")");
  }
  return ids;
}

}  // namespace

Tensor pack_linear_op(const Tensor& weight) {
  check_weight("weight", weight, {kAnySize, kAnySize});
  return pack(matrix_layout(weight.size(0), weight.size(1)), weight);
}

Tensor unpack_linear_op(const Tensor& packed, int64_t out_features, int64_t in_features) {
  return unpack(matrix_layout(out_features, in_features), packed, {out_features, in_features});
}

Tensor pack_block_linear_op(const Tensor& weight) {
  check_weight("weight", weight, {kAnySize, kAnySize, kGates, kAnySize});
  return pack(block_layout(weight.size(0), weight.size(1), weight.size(3)), weight);
}

Tensor unpack_block_linear_op(const Tensor& packed, int64_t num_heads, int64_t in_features,
                              int64_t channels) {
  const PackParams layout = shared_layout(num_heads, in_features, channels);
  return unpack(layout, packed, {num_heads, layout.shape.inputs, kGates, layout.shape.outputs});
}

Tensor linear_op(const Tensor& x, const Tensor& packed, int64_t out_features, int64_t in_features) {
  const BlockShape shape = matrix_layout(out_features, in_features).shape;
  check_tensor("x", x, ScalarType::Float, {kAnySize, in_features});
  Tensor out = empty_cpu({x.size(0), out_features});
  multiply(shape, x, packed, nullptr, out);
  return out;
}

Tensor block_linear_op(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t num_heads,
                       int64_t in_features) {
  check_tensor("bias", bias, ScalarType::Float, {kGates, kAnySize});
  const int64_t channels = bias.size(1);
  const BlockShape shape = shared_layout(num_heads, in_features, channels).shape;
  check_tensor("x", x, ScalarType::Float, {kAnySize, in_features});
  Tensor out = empty_cpu({x.size(0), kGates, channels});
  multiply(shape, x, packed, bias.const_data_ptr<float>(), out);
  return out;
}

Tensor embedding_op(const Tensor& tokens, const Tensor& weight) {
  const DType dtype = check_weight("weight", weight, {kAnySize, kAnySize});
  const std::vector<int64_t> ids = read_tokens(tokens, weight.size(0));
  Tensor out = empty_cpu({int64_t(ids.size()), weight.size(1)});
  embedding_cpu({int64_t(ids.size()), weight.size(1), ids.data(), dtype, weight.const_data_ptr(),
                 out.mutable_data_ptr<float>()});
  return out;
}

}  // namespace pararnn
