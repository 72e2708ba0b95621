#include <torch/csrc/stable/ops.h>

#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

// The checks that all three share; fills what they have in common.
RecurrenceParams check_inputs(int64_t cell, const Tensor& bx, const Tensor& a,
                              const std::optional<Tensor>& c) {
  RecurrenceParams params{};
  const CellSizes& sizes = check_cell(cell);
  params.cell = sizes.kind;
  check_tensor("bx", bx, ScalarType::Float, {kAnySize, sizes.gates, kAnySize});
  params.channels = bx.size(2);
  check_tensor("a", a, ScalarType::Float, {sizes.recurrent, params.channels});
  check_has_peepholes(sizes, c.has_value());
  if (c.has_value()) {
    check_tensor("c", *c, ScalarType::Float, {sizes.peepholes, params.channels});
    params.c = c->const_data_ptr<float>();
  }
  params.bx = bx.const_data_ptr<float>();
  params.a = a.const_data_ptr<float>();
  return params;
}

// Sequence s has state row s.
Sequences check_plain_sequences(const Tensor& cu_seqlens, int64_t tokens) {
  return {check_cu_seqlens(cu_seqlens, tokens), cu_seqlens.const_data_ptr<int32_t>(), nullptr, nullptr};
}

}  // namespace

Tensor recurrence_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                     const Tensor& initial_state, const Tensor& cu_seqlens) {
  RecurrenceParams params = check_inputs(cell, bx, a, c);
  params.sequences = check_plain_sequences(cu_seqlens, bx.size(0));
  const int64_t rows = sizes_of(params.cell).states;
  check_tensor("initial_state", initial_state, ScalarType::Float,
               {params.sequences.count, rows, params.channels});
  Tensor states = empty_cpu({bx.size(0), rows, params.channels});
  params.initial_state = initial_state.const_data_ptr<float>();
  params.slot_stride = rows * params.channels;
  params.row_stride = params.channels;
  params.states = states.mutable_data_ptr<float>();
  recurrence_cpu(params);
  return states;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> recurrence_backward_op(int64_t cell, const Tensor& grad_states,
                                                                  const Tensor& states, const Tensor& bx,
                                                                  const Tensor& a, std::optional<Tensor> c,
                                                                  const Tensor& initial_state,
                                                                  const Tensor& cu_seqlens) {
  RecurrenceParams forward = check_inputs(cell, bx, a, c);
  forward.sequences = check_plain_sequences(cu_seqlens, bx.size(0));
  const CellSizes& sizes = sizes_of(forward.cell);
  const int64_t rows = sizes.states, recurrent = sizes.recurrent, peepholes = sizes.peepholes;
  const int64_t tokens = bx.size(0), count = forward.sequences.count, channels = forward.channels;
  check_tensor("initial_state", initial_state, ScalarType::Float, {count, rows, channels});
  check_tensor("states", states, ScalarType::Float, {tokens, rows, channels});
  check_tensor("grad_states", grad_states, ScalarType::Float, {tokens, rows, channels});

  Tensor grad_bx = empty_cpu({tokens, sizes.gates, channels});
  Tensor grad_initial_state = empty_cpu({count, rows, channels});
  Tensor per_sequence = empty_cpu({count, recurrent + peepholes, channels});
  recurrence_backward_cpu({forward.cell, forward.sequences, channels, bx.const_data_ptr<float>(), forward.a,
                           forward.c, initial_state.const_data_ptr<float>(), states.const_data_ptr<float>(),
                           grad_states.const_data_ptr<float>(), grad_bx.mutable_data_ptr<float>(),
                           grad_initial_state.mutable_data_ptr<float>(),
                           per_sequence.mutable_data_ptr<float>()});

  Tensor grad_a = empty_cpu({recurrent, channels});
  Tensor grad_c = empty_cpu({peepholes, channels});
  const float* const sums = per_sequence.const_data_ptr<float>();
  const int64_t stride = (recurrent + peepholes) * channels;
  sum_rows_cpu({count, recurrent * channels, stride, sums, grad_a.mutable_data_ptr<float>()});
  sum_rows_cpu(
      {count, peepholes * channels, stride, sums + recurrent * channels, grad_c.mutable_data_ptr<float>()});
  return {grad_bx, grad_a, grad_c, grad_initial_state};
}

Tensor recurrence_slots_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                           const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                           Tensor state, std::optional<Tensor> bias) {
  PARARNN_REQUIRE(!bias.has_value(), "bias: on a CPU bx has it already");
  RecurrenceParams params = check_inputs(cell, bx, a, c);
  check_rows("state", state, ScalarType::Float, {kAnySize, sizes_of(params.cell).states, params.channels});
  params.sequences = check_sequences(cu_seqlens, slots, has_initial_state, bx.size(0), state.size(0));
  Tensor y = empty_cpu({bx.size(0), params.channels});
  params.final_state = state.mutable_data_ptr<float>();
  params.initial_state = params.final_state;
  params.slot_stride = state.stride(0);
  params.row_stride = state.stride(1);
  params.y = y.mutable_data_ptr<float>();
  recurrence_cpu(params);
  return y;
}

}  // namespace pararnn
