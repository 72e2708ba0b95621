#include <vector>

#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

PackedMatrix described(int64_t format, int64_t heads, int64_t gates, int64_t inputs, int64_t outputs,
                       int64_t group_size) {
  return described_matrix(format, {heads, gates, inputs, outputs}, group_size);
}

PackedMatrix with_data(PackedMatrix matrix, const Tensor& packed) {
  check_tensor("packed", packed, ScalarType::Byte, {packed_bytes(matrix)});
  matrix.data = packed.const_data_ptr();
  return matrix;
}

// A float weight is (O, I) or (H, I, gates, O), an integer one (H * gates * O, I or ceil(I / 2)).
PackParams layout(const PackedMatrix& matrix, const Tensor& weight, const std::optional<Tensor>& scales) {
  const auto& [heads, gates, inputs, outputs] = matrix.shape;
  PackParams params{matrix, 0, 0, 1, inputs, 0, const_cast<void*>(weight.const_data_ptr()), nullptr, nullptr};
  if (!is_quantized(matrix.format)) {
    const ScalarType dtype =
        matrix.format == WeightFormat::kFloat32 ? ScalarType::Float : ScalarType::BFloat16;
    if (weight.dim() == 2) {
      PARARNN_REQUIRE(heads == 1 && gates == 1, "weight: a matrix has one head and one gate");
      check_tensor("weight", weight, dtype, {outputs, inputs});
      return params;
    }
    check_tensor("weight", weight, dtype, {heads, inputs, gates, outputs});
    params.head_stride = inputs * gates * outputs;
    params.gate_stride = outputs;
    params.input_stride = gates * outputs;
    params.output_stride = 1;
    return params;
  }
  const bool bytes = matrix.format == WeightFormat::kInt8;
  const int64_t rows = heads * gates * outputs;
  params.row_bytes = bytes ? inputs : (inputs + 1) / 2;
  check_tensor("weight", weight, bytes ? ScalarType::Char : ScalarType::Byte, {rows, params.row_bytes});
  PARARNN_REQUIRE(scales.has_value(), "scales: missing");
  check_tensor("scales", *scales, ScalarType::BFloat16, {rows, groups_per_row(matrix)});
  params.scales = const_cast<void*>(scales->const_data_ptr());
  return params;
}

}  // namespace

int64_t packed_bytes_op(int64_t format, int64_t heads, int64_t gates, int64_t inputs, int64_t outputs,
                        int64_t group_size) {
  return packed_bytes(described(format, heads, gates, inputs, outputs, group_size));
}

void pack_matrix_op(const Tensor& weight, std::optional<Tensor> scales, int64_t format, int64_t heads,
                    int64_t gates, int64_t inputs, int64_t outputs, int64_t group_size, Tensor packed) {
  PackParams params = layout(described(format, heads, gates, inputs, outputs, group_size), weight, scales);
  check_tensor("packed", packed, ScalarType::Byte, {packed_bytes(params.matrix)});
  params.packed = packed.mutable_data_ptr();
  pack_matrix_cpu(params);
}

void unpack_matrix_op(const Tensor& packed, int64_t format, int64_t heads, int64_t gates, int64_t inputs,
                      int64_t outputs, int64_t group_size, Tensor weight, std::optional<Tensor> scales) {
  const PackedMatrix matrix = with_data(described(format, heads, gates, inputs, outputs, group_size), packed);
  PackParams params = layout(matrix, weight, scales);
  params.packed = const_cast<void*>(matrix.data);
  unpack_matrix_cpu(params);
}

Tensor linear_op(const Tensor& x, const Tensor& packed, std::optional<Tensor> bias, int64_t format,
                 int64_t heads, int64_t gates, int64_t inputs, int64_t outputs, int64_t group_size) {
  const PackedMatrix weight = with_data(described(format, heads, gates, inputs, outputs, group_size), packed);
  check_tensor("x", x, ScalarType::Float, {kAnySize, heads * inputs});
  if (bias.has_value()) check_tensor("bias", *bias, ScalarType::Float, {gates, heads * outputs});
  Tensor out = empty_cpu({x.size(0), gates * heads * outputs});
  linear_cpu({weight, x.size(0), x.const_data_ptr<float>(),
              bias.has_value() ? bias->const_data_ptr<float>() : nullptr, out.mutable_data_ptr<float>()});
  return out;
}

Tensor embedding_op(const Tensor& tokens, const Tensor& packed, int64_t format, int64_t inputs,
                    int64_t outputs, int64_t group_size) {
  const PackedMatrix weight = with_data(described(format, 1, 1, inputs, outputs, group_size), packed);
  std::vector<int64_t> ids;
  read_indices("tokens", tokens, outputs, ids);
  Tensor out = empty_cpu({int64_t(ids.size()), inputs});
  embedding_cpu({weight, int64_t(ids.size()), ids.data(), out.mutable_data_ptr<float>()});
  return out;
}

void advise_huge_pages_op(Tensor buffer) {
  check_tensor("buffer", buffer, ScalarType::Byte, {kAnySize});
  advise_huge_pages(buffer.mutable_data_ptr(), buffer.size(0));
}

}  // namespace pararnn
