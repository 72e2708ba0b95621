#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

DType check_conv_state(const Tensor& conv_state, int64_t width, int64_t channels) {
  const bool is_bfloat16 = conv_state.scalar_type() == ScalarType::BFloat16;
  check_rows("conv_state", conv_state, is_bfloat16 ? ScalarType::BFloat16 : ScalarType::Float,
             {kAnySize, width - 1, channels});
  return is_bfloat16 ? DType::kBFloat16 : DType::kFloat32;
}

}  // namespace

Tensor causal_conv1d_op(const Tensor& v, const Tensor& weight, std::optional<Tensor> bias, int64_t activation,
                        const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                        Tensor conv_state) {
  check_rows("v", v, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t tokens = v.size(0), channels = v.size(1);
  check_tensor("weight", weight, ScalarType::Float, {channels, kAnySize});
  const int64_t width = weight.size(1);
  PARARNN_REQUIRE(width >= 1 && width <= kMaxConvWidth, "weight: expected 1 to ", kMaxConvWidth,
                  " taps per channel, got ", width);
  if (bias.has_value()) check_tensor("bias", *bias, ScalarType::Float, {channels});
  const DType state_dtype = check_conv_state(conv_state, width, channels);
  const Sequences sequences =
      check_sequences(cu_seqlens, slots, has_initial_state, tokens, conv_state.size(0));
  Tensor out = empty_cpu({tokens, channels});
  causal_conv1d_cpu(
      {sequences, tokens, channels, width, DType::kFloat32, v.const_data_ptr<float>(), v.stride(0),
       weight.const_data_ptr<float>(), width, 1, bias.has_value() ? bias->const_data_ptr<float>() : nullptr,
       check_choice<Activation>("activation", activation), state_dtype, conv_state.mutable_data_ptr(),
       conv_state.stride(0), conv_state.stride(1), out.mutable_data_ptr<float>()});
  return out;
}

}  // namespace pararnn
