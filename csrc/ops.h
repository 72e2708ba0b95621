// What bindings.cpp registers: Tensor -> params, checks and allocation. No maths.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

namespace pararnn {

using torch::stable::Tensor;

Tensor recurrence_op(std::string cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                     const Tensor& initial_state, const Tensor& cu_seqlens);

// Gradients of bx, a, c (no rows for the GRU) and initial_state.
std::tuple<Tensor, Tensor, Tensor, Tensor> recurrence_backward_op(std::string cell, const Tensor& grad_states,
                                                                  const Tensor& states, const Tensor& bx,
                                                                  const Tensor& a, std::optional<Tensor> c,
                                                                  const Tensor& initial_state,
                                                                  const Tensor& cu_seqlens);

Tensor recurrence_slots_op(std::string cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                           const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                           Tensor state);

std::string isa_level_op();
std::string available_isa_levels_op();
int64_t num_threads_op();
void set_num_threads_op(int64_t count);

}  // namespace pararnn
