// What every op of a GPU needs: the caller's stream, and memory beside a tensor.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include "torch/checks.h"

#ifdef PARARNN_CUDA_HOST
#include "host_ops.h"
#else

// Begins what a file of ops registers.
#define PARARNN_CUDA_OPS(library) STABLE_TORCH_LIBRARY_IMPL(pararnn, CUDA, library)

// The header declares it only where torch was built with CUDA.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);

namespace pararnn {

// While it lives, the device is current; its stream is the caller's.
class CallersStream {
 public:
  explicit CallersStream(int32_t device) : guard_(device) {
    PARARNN_REQUIRE(aoti_torch_get_current_cuda_stream(device, &stream_) == 0, "no current CUDA stream");
  }
  void* get() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace pararnn

#endif

namespace pararnn {

inline Tensor empty_beside(const Tensor& tensor, std::initializer_list<int64_t> shape,
                           ScalarType dtype = ScalarType::Float) {
  const std::vector<int64_t> sizes(shape);
  return torch::stable::new_empty(tensor, sizes, dtype);
}

}  // namespace pararnn
