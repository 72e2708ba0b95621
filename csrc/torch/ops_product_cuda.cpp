// Products of a GPU with weights as a checkpoint holds them, Tensor -> params.
#include <torch/csrc/stable/library.h>

#include "kernels.h"
#include "torch/ops_cuda.h"

namespace pararnn {
namespace {

void check_place(const char* name, const void* data) {
  PARARNN_REQUIRE(reinterpret_cast<uintptr_t>(data) % 16 == 0, name,
                  ": must begin at a multiple of 16 bytes");
}

// The matrix that tensors and numbers describe, its shape and format within what kernels take.
PlainMatrix plain_matrix(const Tensor& weight, const std::optional<Tensor>& scales, int64_t format,
                         const BlockShape& shape, int64_t group_size) {
  const PackedMatrix described = described_matrix(format, shape, group_size);
  PARARNN_REQUIRE(described.format != WeightFormat::kFloat32, "format: expected 1 to 3, got ", format);
  PARARNN_REQUIRE(shape.inputs % kProductInputStep == 0 && shape.inputs < kMostProductInputs,
                  "inputs: expected a multiple of ", kProductInputStep, " below ", kMostProductInputs,
                  ", got ", shape.inputs);
  PlainMatrix matrix{shape, described.format, group_size, nullptr, nullptr};
  const int32_t device = weight.get_device_index();
  const int64_t rows = shape.heads * shape.gates * shape.outputs;
  const bool is_int4 = matrix.format == WeightFormat::kInt4;
  const ScalarType dtype = matrix.format == WeightFormat::kBFloat16 ? ScalarType::BFloat16
                           : is_int4                                ? ScalarType::Byte
                                                                    : ScalarType::Char;
  check_cuda_tensor("weight", weight, device, dtype, {rows, is_int4 ? shape.inputs / 2 : shape.inputs});
  matrix.rows = weight.const_data_ptr();
  check_place("weight", matrix.rows);
  PARARNN_REQUIRE(scales.has_value() == is_quantized(matrix.format),
                  "scales: integers need them and floats have none");
  if (scales.has_value()) {
    check_cuda_tensor("scales", *scales, device, ScalarType::BFloat16, {rows, groups_per_row(described)});
    matrix.scales = static_cast<const uint16_t*>(scales->const_data_ptr());
  }
  return matrix;
}

ScalarType scalar_type(bool wide) { return wide ? ScalarType::Float : ScalarType::BFloat16; }
DType dtype(bool wide) { return wide ? DType::kFloat32 : DType::kBFloat16; }

Tensor row_product(const Tensor& x, const Tensor& weight, std::optional<Tensor> scales, int64_t format,
                   int64_t heads, int64_t gates, int64_t inputs, int64_t outputs, int64_t group_size,
                   bool wide) {
  const PlainMatrix matrix =
      plain_matrix(weight, scales, format, {heads, gates, inputs, outputs}, group_size);
  PARARNN_REQUIRE(row_product_takes(matrix.format, group_size),
                  "group_size: of 4 bits expected a multiple of 32, got ", group_size);
  check_cuda_tensor("x", x, weight.get_device_index(), ScalarType::BFloat16, {kAnySize, heads * inputs});
  PARARNN_REQUIRE(x.size(0) <= kMostProductRows, "x: expected up to ", kMostProductRows, " rows, got ",
                  x.size(0));
  check_place("x", x.const_data_ptr());
  const CallersStream stream(weight.get_device_index());
  Tensor out = empty_beside(x, {x.size(0), gates * heads * outputs}, scalar_type(wide));
  row_product_cuda({matrix, x.size(0), x.const_data_ptr(), dtype(wide), out.mutable_data_ptr()},
                   stream.get());
  return out;
}

Tensor dequantize(const Tensor& weight, const Tensor& scales, std::optional<Tensor> rows, int64_t format,
                  int64_t inputs, int64_t group_size, bool wide) {
  const PlainMatrix matrix = plain_matrix(weight, scales, format, {1, 1, inputs, weight.size(0)}, group_size);
  PARARNN_REQUIRE(is_quantized(matrix.format), "format: expected 2 or 3, got ", format);
  const int32_t device = weight.get_device_index();
  if (rows.has_value()) check_cuda_tensor("rows", *rows, device, ScalarType::Long, {kAnySize});
  const int64_t count = rows.has_value() ? rows->size(0) : weight.size(0);
  PARARNN_REQUIRE(count * inputs < kMostDequantized, "rows: ", count, " of ", inputs,
                  " inputs are more than one call takes");
  const CallersStream stream(device);
  Tensor out = empty_beside(weight, {count, inputs}, scalar_type(wide));
  dequantize_cuda({matrix, count, rows.has_value() ? rows->const_data_ptr<int64_t>() : nullptr, dtype(wide),
                   out.mutable_data_ptr()},
                  stream.get());
  return out;
}

}  // namespace
}  // namespace pararnn

PARARNN_CUDA_OPS(library) {
  library.impl("row_product", TORCH_BOX(&pararnn::row_product));
  library.impl("dequantize", TORCH_BOX(&pararnn::dequantize));
}
