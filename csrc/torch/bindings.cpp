#include <torch/csrc/stable/library.h>

#include "torch/ops.h"
#include "torch/schemas.h"

STABLE_TORCH_LIBRARY(pararnn, library) { pararnn::define_schemas(library); }

STABLE_TORCH_LIBRARY_IMPL(pararnn, CompositeExplicitAutograd, library) {
  library.impl("packed_bytes", TORCH_BOX(&pararnn::packed_bytes_op));
  library.impl("model_free", TORCH_BOX(&pararnn::model_free_op));
  library.impl("cells", TORCH_BOX(&pararnn::cells_op));
  library.impl("recurrent_rows", TORCH_BOX(&pararnn::recurrent_rows_op));
  library.impl("isa_level", TORCH_BOX(&pararnn::isa_level_op));
  library.impl("available_isa_levels", TORCH_BOX(&pararnn::available_isa_levels_op));
  library.impl("multiply_add", TORCH_BOX(&pararnn::multiply_add_op));
  library.impl("num_threads", TORCH_BOX(&pararnn::num_threads_op));
  library.impl("set_num_threads", TORCH_BOX(&pararnn::set_num_threads_op));
}

STABLE_TORCH_LIBRARY_IMPL(pararnn, CPU, library) {
  library.impl("recurrence", TORCH_BOX(&pararnn::recurrence_op));
  library.impl("recurrence_backward", TORCH_BOX(&pararnn::recurrence_backward_op));
  library.impl("recurrence_", TORCH_BOX(&pararnn::recurrence_slots_op));
  library.impl("advise_huge_pages", TORCH_BOX(&pararnn::advise_huge_pages_op));
  library.impl("pack_matrix", TORCH_BOX(&pararnn::pack_matrix_op));
  library.impl("unpack_matrix", TORCH_BOX(&pararnn::unpack_matrix_op));
  library.impl("linear", TORCH_BOX(&pararnn::linear_op));
  library.impl("embedding", TORCH_BOX(&pararnn::embedding_op));
  library.impl("read_bytes", TORCH_BOX(&pararnn::read_bytes_op));
  library.impl("model_create", TORCH_BOX(&pararnn::model_create_op));
  library.impl("rwkv7_create", TORCH_BOX(&pararnn::rwkv7_create_op));
  library.impl("model_step", TORCH_BOX(&pararnn::model_step_op));
  library.impl("rms_norm", TORCH_BOX(&pararnn::rms_norm_op));
  library.impl("gated_rms_norm", TORCH_BOX(&pararnn::gated_rms_norm_op));
  library.impl("silu_mul", TORCH_BOX(&pararnn::silu_mul_op));
  library.impl("add_scaled", TORCH_BOX(&pararnn::add_scaled_op));
  library.impl("causal_conv1d_", TORCH_BOX(&pararnn::causal_conv1d_op));
  library.impl("sample", TORCH_BOX(&pararnn::sample_op));
  library.impl("token_logprobs", TORCH_BOX(&pararnn::token_logprobs_op));
}
