// What Python may call.
#pragma once

#include <torch/csrc/stable/library.h>

namespace pararnn {

// Choices travel as the numbers of their enum in params/: torch 2.13 leaks every str argument.
inline void define_schemas(torch::stable::detail::StableLibrary& library) {
  library.def("isa_level() -> str");
  library.def("available_isa_levels() -> str");
  library.def("cells() -> str");
  library.def("recurrent_rows(int cell) -> int");
  library.def("multiply_add(int unit, int rounds) -> int");
  library.def("read_bytes(Tensor data, int passes) -> int");
  library.def("num_threads() -> int");
  library.def("set_num_threads(int count) -> ()");

  library.def(
      "recurrence(int cell, Tensor bx, Tensor a, Tensor? c, Tensor initial_state, Tensor cu_seqlens) -> "
      "Tensor");
  library.def(
      "recurrence_backward(int cell, Tensor grad_states, Tensor states, Tensor bx, Tensor a, Tensor? c, "
      "Tensor initial_state, Tensor cu_seqlens) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "recurrence_(int cell, Tensor bx, Tensor a, Tensor? c, Tensor cu_seqlens, Tensor slots, "
      "Tensor has_initial_state, Tensor(a!) state, Tensor? bias) -> Tensor");

  // Of a GPU only.
  library.def(
      "newton_recurrence(int cell, Tensor bx, Tensor a, Tensor? c, Tensor initial_state, Tensor cu_seqlens, "
      "float tolerance, int max_iterations, int time_warps) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "newton_recurrence_(int cell, Tensor bx, Tensor a, Tensor? c, Tensor cu_seqlens, Tensor slots, "
      "Tensor has_initial_state, Tensor(a!) state, Tensor? bias, float tolerance, int max_iterations, int "
      "time_warps) -> "
      "(Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "linear_scan(Tensor jacobian, Tensor source, Tensor? entry, Tensor cu_seqlens, bool reverse) -> "
      "(Tensor, Tensor)");

  library.def(
      "row_product(Tensor x, Tensor weight, Tensor? scales, int format, int heads, int gates, int inputs, "
      "int outputs, int group_size, bool wide) -> Tensor");
  library.def(
      "dequantize(Tensor weight, Tensor scales, Tensor? rows, int format, int inputs, int group_size, "
      "bool wide) -> Tensor");

  library.def("advise_huge_pages(Tensor(a!) buffer) -> ()");
  library.def(
      "packed_bytes(int format, int heads, int gates, int inputs, int outputs, int group_size) -> int");
  library.def(
      "pack_matrix(Tensor weight, Tensor? scales, int format, int heads, int gates, int inputs, int outputs, "
      "int group_size, Tensor(a!) packed) -> ()");
  library.def(
      "unpack_matrix(Tensor packed, int format, int heads, int gates, int inputs, int outputs, "
      "int group_size, Tensor(a!) weight, Tensor(b!)? scales) -> ()");
  library.def(
      "linear(Tensor x, Tensor packed, Tensor? bias, int format, int heads, int gates, int inputs, "
      "int outputs, int group_size) -> Tensor");
  library.def(
      "embedding(Tensor tokens, Tensor packed, int format, int inputs, int outputs, int group_size) -> "
      "Tensor");

  library.def(
      "model_create(Tensor[] tensors, int[] formats, int cell, int layers, int hidden, int mlp_hidden, "
      "int heads, int vocab, int conv_width, int conv_activation, int gate_order, bool mlp_residual, "
      "float norm_eps) -> int");
  library.def(
      "rwkv7_create(Tensor[] tensors, int[] formats, int layers, int hidden, int channel_hidden, int "
      "decay_rank, "
      "int rate_rank, int value_gate_rank, int gate_rank, int vocab, float norm_eps, float head_norm_eps) -> "
      "int");
  library.def("model_free(int model) -> ()");
  library.def(
      "model_step(int model, Tensor tokens, Tensor cu_seqlens, Tensor slots, Tensor? has_initial_state, "
      "Tensor? logits_indices, Tensor(a!)[] state, Tensor(b!)? stage_seconds, Tensor? hidden_indices=None, "
      "Tensor(c!)? hidden=None) -> Tensor");

  // Of a GPU only.
  library.def(
      "add_rms_norm_(Tensor(a!) x, Tensor? update, Tensor? scale, Tensor weight, float eps, int dtype, "
      "bool replaces) -> Tensor");
  library.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
  library.def("gated_rms_norm(Tensor y, Tensor gate, Tensor weight, float eps, int gate_order) -> Tensor");
  library.def("silu_mul(Tensor gate, Tensor up) -> Tensor");
  library.def("add_scaled(Tensor x, Tensor? scale, Tensor y) -> Tensor");
  library.def(
      "causal_conv1d_(Tensor v, Tensor weight, Tensor? bias, int activation, Tensor cu_seqlens, Tensor "
      "slots, "
      "Tensor has_initial_state, Tensor(a!) conv_state) -> Tensor");

  library.def(
      "sample(Tensor logits, Tensor rows, Tensor slots, Tensor numbers, Tensor(a!) counters, Tensor seen, "
      "Tensor(b!) counts, Tensor bias_bounds, Tensor bias_ids, Tensor biases, Tensor masked, Tensor masks) "
      "-> Tensor");
  library.def(
      "token_logprobs(Tensor logits, Tensor rows, Tensor targets, Tensor top_counts) -> "
      "(Tensor, Tensor, Tensor, Tensor)");
}

}  // namespace pararnn
