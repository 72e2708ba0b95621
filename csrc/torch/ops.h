// What bindings.cpp registers: Tensor -> params, checks and allocation. No maths.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace pararnn {

using torch::stable::Tensor;

Tensor recurrence_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                     const Tensor& initial_state, const Tensor& cu_seqlens);

// Gradients of bx, a, c (no rows without peepholes) and initial_state.
std::tuple<Tensor, Tensor, Tensor, Tensor> recurrence_backward_op(int64_t cell, const Tensor& grad_states,
                                                                  const Tensor& states, const Tensor& bx,
                                                                  const Tensor& a, std::optional<Tensor> c,
                                                                  const Tensor& initial_state,
                                                                  const Tensor& cu_seqlens);

Tensor recurrence_slots_op(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                           const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                           Tensor state, std::optional<Tensor> bias);

// A matrix of heads x gates blocks as this level packs it (PackedMatrix in params/matrix.h), one dimension of
// bytes; and back.
int64_t packed_bytes_op(int64_t format, int64_t heads, int64_t gates, int64_t inputs, int64_t outputs,
                        int64_t group_size);
void pack_matrix_op(const Tensor& weight, std::optional<Tensor> scales, int64_t format, int64_t heads,
                    int64_t gates, int64_t inputs, int64_t outputs, int64_t group_size, Tensor packed);
void unpack_matrix_op(const Tensor& packed, int64_t format, int64_t heads, int64_t gates, int64_t inputs,
                      int64_t outputs, int64_t group_size, Tensor weight, std::optional<Tensor> scales);
void advise_huge_pages_op(Tensor buffer);

Tensor linear_op(const Tensor& x, const Tensor& packed, std::optional<Tensor> bias, int64_t format,
                 int64_t heads, int64_t gates, int64_t inputs, int64_t outputs, int64_t group_size);
Tensor embedding_op(const Tensor& tokens, const Tensor& packed, int64_t format, int64_t inputs,
                    int64_t outputs, int64_t group_size);

// A model from its packed matrices and float32 vectors, in the order: embedding; for each layer
// PARARNN_LAYER_TENSORS of model.h; final norm, head. formats: of each matrix its format and group size.
// Returns a handle, which keeps the tensors until model_free.
int64_t model_create_op(std::vector<Tensor> tensors, std::vector<int64_t> formats, int64_t cell,
                        int64_t layers, int64_t hidden, int64_t mlp_hidden, int64_t heads, int64_t vocab,
                        int64_t conv_width, int64_t conv_activation, int64_t gate_order, bool mlp_residual,
                        double norm_eps);

// An RWKV-7 likewise: embedding; first norm; for each layer PARARNN_RWKV7_LAYER_TENSORS of rwkv7_model.h;
// final norm; head. A norm is its weight and its bias.
int64_t rwkv7_create_op(std::vector<Tensor> tensors, std::vector<int64_t> formats, int64_t layers,
                        int64_t hidden, int64_t channel_hidden, int64_t decay_rank, int64_t rate_rank,
                        int64_t value_gate_rank, int64_t gate_rank, int64_t vocab, double norm_eps,
                        double head_norm_eps);

void model_free_op(int64_t model);

// Logits (M, V) of the rows asked for, without logits_indices of each sequence's last; without
// has_initial_state all sequences go on from their slots; the states of a pool move on by slot. state: the
// parts of the pool in the order of the model's layout. hidden (K, d) gets what the head would read of the
// rows hidden_indices (K). See StepParams in model.h.
Tensor model_step_op(int64_t model, const Tensor& tokens, const Tensor& cu_seqlens, const Tensor& slots,
                     std::optional<Tensor> has_initial_state, std::optional<Tensor> logits_indices,
                     std::vector<Tensor> state, std::optional<Tensor> stage_seconds,
                     std::optional<Tensor> hidden_indices, std::optional<Tensor> hidden);

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

// Ids of the rows asked for, -1 where a row is not finite; see SampleParams.
Tensor sample_op(const Tensor& logits, const Tensor& rows, const Tensor& slots, const Tensor& numbers,
                 Tensor counters, const Tensor& seen, Tensor counts, const Tensor& bias_bounds,
                 const Tensor& bias_ids, const Tensor& biases, const Tensor& masked, const Tensor& masks);
// finite, logprobs, top_ids, top_logprobs; see TokenLogprobsParams.
std::tuple<Tensor, Tensor, Tensor, Tensor> token_logprobs_op(const Tensor& logits, const Tensor& rows,
                                                             const Tensor& targets, const Tensor& top_counts);

// Name, gates, states and peepholes of each cell, a line each, in the order of their numbers.
std::string cells_op();

// Rows of a that a cell has, by its number.
int64_t recurrent_rows_op(int64_t cell);

std::string isa_level_op();
std::string available_isa_levels_op();
int64_t num_threads_op();
void set_num_threads_op(int64_t count);

}  // namespace pararnn
