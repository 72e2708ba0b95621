#include <torch/csrc/stable/library.h>

#include "ops.h"

STABLE_TORCH_LIBRARY(pararnn, library) {
  library.def("isa_level() -> str");
  library.def("available_isa_levels() -> str");
  library.def("num_threads() -> int");
  library.def("set_num_threads(int count) -> ()");

  library.def(
      "recurrence(str cell, Tensor bx, Tensor a, Tensor? c, Tensor initial_state, Tensor cu_seqlens) -> "
      "Tensor");
  library.def(
      "recurrence_backward(str cell, Tensor grad_states, Tensor states, Tensor bx, Tensor a, Tensor? c, "
      "Tensor initial_state, Tensor cu_seqlens) -> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "recurrence_(str cell, Tensor bx, Tensor a, Tensor? c, Tensor cu_seqlens, Tensor slots, "
      "Tensor has_initial_state, Tensor(a!) state) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pararnn, CompositeExplicitAutograd, library) {
  library.impl("isa_level", TORCH_BOX(&pararnn::isa_level_op));
  library.impl("available_isa_levels", TORCH_BOX(&pararnn::available_isa_levels_op));
  library.impl("num_threads", TORCH_BOX(&pararnn::num_threads_op));
  library.impl("set_num_threads", TORCH_BOX(&pararnn::set_num_threads_op));
}

STABLE_TORCH_LIBRARY_IMPL(pararnn, CPU, library) {
  library.impl("recurrence", TORCH_BOX(&pararnn::recurrence_op));
  library.impl("recurrence_backward", TORCH_BOX(&pararnn::recurrence_backward_op));
  library.impl("recurrence_", TORCH_BOX(&pararnn::recurrence_slots_op));
}
