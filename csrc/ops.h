// What bindings.cpp registers: Tensor -> params, checks and allocation. No maths.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

namespace pararnn {

using torch::stable::Tensor;

Tensor recurrence_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                     const Tensor& initial_state, const Tensor& cu_seqlens);

// Gradients of bx, a, c (no rows for the GRU) and initial_state.
std::tuple<Tensor, Tensor, Tensor, Tensor> recurrence_backward_op(int64_t cell, const Tensor& grad_states,
                                                                  const Tensor& states, const Tensor& bx,
                                                                  const Tensor& a, std::optional<Tensor> c,
                                                                  const Tensor& initial_state,
                                                                  const Tensor& cu_seqlens);

Tensor recurrence_slots_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                           const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                           Tensor state);

// A weight as tiles of 16 outputs, one dimension; and back.
Tensor pack_linear_op(const Tensor& weight);
Tensor unpack_linear_op(const Tensor& packed, int64_t out_features, int64_t in_features);
Tensor pack_block_linear_op(const Tensor& weight);
Tensor unpack_block_linear_op(const Tensor& packed, int64_t num_heads, int64_t in_features, int64_t channels);

Tensor linear_op(const Tensor& x, const Tensor& packed, int64_t out_features, int64_t in_features);
Tensor block_linear_op(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t num_heads,
                       int64_t in_features);
Tensor embedding_op(const Tensor& tokens, const Tensor& weight);

Tensor rms_norm_op(const Tensor& x, const Tensor& weight, double eps);
Tensor gated_rms_norm_op(const Tensor& y, const Tensor& gate, const Tensor& weight, double eps,
                         int64_t gate_order);
Tensor silu_mul_op(const Tensor& gate, const Tensor& up);
Tensor add_scaled_op(const Tensor& x, std::optional<Tensor> scale, const Tensor& y);
Tensor causal_conv1d_op(const Tensor& v, const Tensor& weight, std::optional<Tensor> bias, int64_t activation,
                        const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                        Tensor conv_state);

// What the machine can do at most, with all threads. The first reads data; returns a number that depends on
// it.
int64_t read_bytes_op(const Tensor& data, int64_t passes);
// Returns the multiply-adds that were done in `rounds` rounds.
int64_t multiply_add_op(int64_t unit, int64_t rounds);

std::string isa_level_op();
std::string available_isa_levels_op();
int64_t num_threads_op();
void set_num_threads_op(int64_t count);

}  // namespace pararnn
