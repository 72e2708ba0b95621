// What csrc/torch/ops_cuda.h is where fibers stand for a GPU: ops of a namespace of their own, on CPU
// tensors.
#pragma once

#define PARARNN_CUDA_OPS(library) STABLE_TORCH_LIBRARY_IMPL(pararnn_on_fibers, CPU, library)

namespace pararnn {

class CallersStream {
 public:
  explicit CallersStream(int32_t) {}
  void* get() const { return nullptr; }
};

}  // namespace pararnn
