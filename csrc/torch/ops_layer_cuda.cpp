// What a layer does between its products on a GPU, Tensor -> params.
#include <torch/csrc/stable/library.h>

#include "kernels.h"
#include "torch/ops_cuda.h"

namespace pararnn {
namespace {

// Of rows that products take and give.
DType narrow_dtype(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::BFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

ScalarType scalar_type(DType dtype) {
  return dtype == DType::kBFloat16 ? ScalarType::BFloat16 : ScalarType::Float;
}

const float* vector_data(const char* name, const Tensor& tensor, int32_t device, int64_t size) {
  check_cuda_tensor(name, tensor, device, ScalarType::Float, {size});
  return tensor.const_data_ptr<float>();
}

Tensor add_rms_norm(Tensor x, std::optional<Tensor> update, std::optional<Tensor> scale, const Tensor& weight,
                    double eps, int64_t dtype, bool replaces) {
  const int32_t device = x.get_device_index();
  check_cuda_tensor("x", x, device, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t rows = x.size(0), width = x.size(1);
  AddRmsNormParams p{};
  p.rows = rows;
  p.width = width;
  p.x = x.mutable_data_ptr<float>();
  if (update.has_value()) {
    p.kind = replaces ? StreamUpdate::kReplace : StreamUpdate::kAdd;
    p.update_dtype = narrow_dtype(*update);
    check_cuda_tensor("update", *update, device, scalar_type(p.update_dtype), {rows, width});
    p.update = update->const_data_ptr();
  }
  p.scale = scale.has_value() ? vector_data("scale", *scale, device, 1) : nullptr;
  p.weight = vector_data("weight", weight, device, width);
  p.eps = float(eps);
  p.out_dtype = check_choice<DType>("dtype", dtype);
  const CallersStream stream(device);
  Tensor out = empty_beside(x, {rows, width}, scalar_type(p.out_dtype));
  p.out = out.mutable_data_ptr();
  add_rms_norm_cuda(p, stream.get());
  return out;
}

Tensor gated_rms_norm(const Tensor& y, const Tensor& gate, const Tensor& weight, double eps,
                      int64_t gate_order) {
  const int32_t device = y.get_device_index();
  check_cuda_tensor("y", y, device, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t rows = y.size(0), width = y.size(1);
  const DType dtype = narrow_dtype(gate);
  check_cuda_rows("gate", gate, device, scalar_type(dtype), {rows, width});
  const float* const weights = vector_data("weight", weight, device, width);
  const auto order = check_choice<GateOrder>("gate_order", gate_order);
  const CallersStream stream(device);
  Tensor out = empty_beside(y, {rows, width}, scalar_type(dtype));
  gated_rms_norm_cuda({rows, width, y.const_data_ptr<float>(), dtype, gate.const_data_ptr(), gate.stride(0),
                       weights, float(eps), order, out.mutable_data_ptr()},
                      stream.get());
  return out;
}

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  const int32_t device = gate.get_device_index();
  const DType dtype = narrow_dtype(gate);
  check_cuda_tensor("gate", gate, device, scalar_type(dtype), {kAnySize, kAnySize});
  check_cuda_tensor("up", up, device, scalar_type(dtype), {gate.size(0), gate.size(1)});
  const CallersStream stream(device);
  Tensor out = empty_beside(gate, {gate.size(0), gate.size(1)}, scalar_type(dtype));
  silu_mul_cuda({gate.size(0), gate.size(1), dtype, gate.const_data_ptr(), gate.size(1), up.const_data_ptr(),
                 up.size(1), out.mutable_data_ptr()},
                stream.get());
  return out;
}

Tensor causal_conv1d(const Tensor& v, const Tensor& weight, std::optional<Tensor> bias, int64_t activation,
                     const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                     Tensor conv_state) {
  const int32_t device = v.get_device_index();
  CausalConvParams p{};
  p.dtype = narrow_dtype(v);
  check_cuda_rows("v", v, device, scalar_type(p.dtype), {kAnySize, kAnySize});
  p.tokens = v.size(0);
  p.channels = v.size(1);
  p.v = v.const_data_ptr();
  p.v_stride = v.stride(0);
  const Tensor taps = torch::stable::transpose(weight, 0, 1);
  check_cuda_rows("weight", taps, device, ScalarType::Float, {kAnySize, p.channels});
  p.width = taps.size(0);
  PARARNN_REQUIRE(p.width >= 1 && p.width <= kMaxConvWidth, "weight: expected 1 to ", kMaxConvWidth,
                  " taps per channel, got ", p.width);
  p.weight = taps.const_data_ptr<float>();
  p.channel_stride = 1;
  p.tap_stride = taps.stride(0);
  p.bias = bias.has_value() ? vector_data("bias", *bias, device, p.channels) : nullptr;
  p.activation = check_choice<Activation>("activation", activation);
  check_cuda_tensor("cu_seqlens", cu_seqlens, device, ScalarType::Int, {kAnySize});
  const int64_t count = cu_seqlens.numel() - 1;
  PARARNN_REQUIRE(count > 0 || (count == 0 && p.tokens == 0), "cu_seqlens: expected at least one sequence");
  check_cuda_tensor("slots", slots, device, ScalarType::Int, {count});
  check_cuda_tensor("has_initial_state", has_initial_state, device, ScalarType::Bool, {count});
  p.sequences = {count, cu_seqlens.const_data_ptr<int32_t>(), slots.const_data_ptr<int32_t>(),
                 has_initial_state.const_data_ptr<bool>()};
  p.state_dtype = narrow_dtype(conv_state);
  check_cuda_rows("conv_state", conv_state, device, scalar_type(p.state_dtype),
                  {kAnySize, p.width - 1, p.channels});
  p.conv_state = conv_state.mutable_data_ptr();
  p.slot_stride = conv_state.stride(0);
  p.row_stride = conv_state.stride(1);
  const CallersStream stream(device);
  Tensor out = empty_beside(v, {p.tokens, p.channels}, scalar_type(p.dtype));
  p.out = out.mutable_data_ptr();
  causal_conv1d_cuda(p, stream.get());
  return out;
}

}  // namespace
}  // namespace pararnn

PARARNN_CUDA_OPS(library) {
  library.impl("add_rms_norm_", TORCH_BOX(&pararnn::add_rms_norm));
  library.impl("gated_rms_norm", TORCH_BOX(&pararnn::gated_rms_norm));
  library.impl("silu_mul", TORCH_BOX(&pararnn::silu_mul));
  library.impl("causal_conv1d_", TORCH_BOX(&pararnn::causal_conv1d));
}
