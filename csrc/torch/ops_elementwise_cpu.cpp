#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {

Tensor rms_norm_op(const Tensor& x, const Tensor& weight, double eps) {
  check_tensor("x", x, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t rows = x.size(0), width = x.size(1);
  check_tensor("weight", weight, ScalarType::Float, {width});
  Tensor out = empty_cpu({rows, width});
  rms_norm_cpu({rows, width, x.const_data_ptr<float>(), weight.const_data_ptr<float>(), float(eps),
                out.mutable_data_ptr<float>()});
  return out;
}

Tensor gated_rms_norm_op(const Tensor& y, const Tensor& gate, const Tensor& weight, double eps,
                         int64_t gate_order) {
  check_tensor("y", y, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t rows = y.size(0), width = y.size(1);
  check_rows("gate", gate, ScalarType::Float, {rows, width});
  check_tensor("weight", weight, ScalarType::Float, {width});
  Tensor out = empty_cpu({rows, width});
  gated_rms_norm_cpu({rows, width, y.const_data_ptr<float>(), DType::kFloat32, gate.const_data_ptr<float>(),
                      gate.stride(0), weight.const_data_ptr<float>(), float(eps),
                      check_choice<GateOrder>("gate_order", gate_order), out.mutable_data_ptr<float>()});
  return out;
}

Tensor silu_mul_op(const Tensor& gate, const Tensor& up) {
  check_rows("gate", gate, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t rows = gate.size(0), width = gate.size(1);
  check_rows("up", up, ScalarType::Float, {rows, width});
  Tensor out = empty_cpu({rows, width});
  silu_mul_cpu({rows, width, DType::kFloat32, gate.const_data_ptr<float>(), gate.stride(0),
                up.const_data_ptr<float>(), up.stride(0), out.mutable_data_ptr<float>()});
  return out;
}

Tensor add_scaled_op(const Tensor& x, std::optional<Tensor> scale, const Tensor& y) {
  check_tensor("x", x, ScalarType::Float, {kAnySize, kAnySize});
  check_tensor("y", y, ScalarType::Float, {x.size(0), x.size(1)});
  if (scale.has_value()) check_tensor("scale", *scale, ScalarType::Float, {1});
  Tensor out = empty_cpu({x.size(0), x.size(1)});
  add_scaled_cpu({x.numel(), x.const_data_ptr<float>(),
                  scale.has_value() ? scale->const_data_ptr<float>() : nullptr, y.const_data_ptr<float>(),
                  out.mutable_data_ptr<float>()});
  return out;
}

}  // namespace pararnn
