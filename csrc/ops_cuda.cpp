// Tensor -> params on a GPU: checks, allocation, the caller's stream. Registered when the library loads,
// beside the schemas of bindings.cpp.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "checks.h"
#include "cuda/scan.h"

// The header declares it only where torch was built with CUDA.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);

namespace pararnn {
namespace {

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

Tensor empty_beside(const Tensor& tensor, std::initializer_list<int64_t> shape,
                    ScalarType dtype = ScalarType::Float) {
  const std::vector<int64_t> sizes(shape);
  return torch::stable::new_empty(tensor, sizes, dtype);
}

// What all recurrences check and have in common.
struct Inputs {
  int32_t device;
  int64_t tokens;
  ScanParams params{};

  Inputs(int64_t cell, const Tensor& bx, const Tensor& a, const std::optional<Tensor>& c,
         const Tensor& cu_seqlens)
      : device(bx.get_device_index()), tokens(bx.dim() == 3 ? bx.size(0) : 0) {
    params.cell = check_choice<CellKind>("cell", cell);
    const bool narrow = bx.scalar_type() == ScalarType::BFloat16;
    check_cuda_tensor("bx", bx, device, narrow ? ScalarType::BFloat16 : ScalarType::Float,
                      {kAnySize, 3, kAnySize});
    params.bx_dtype = narrow ? DType::kBFloat16 : DType::kFloat32;
    params.bx = bx.const_data_ptr();
    params.channels = bx.size(2);
    check_cuda_tensor("a", a, device, ScalarType::Float, {3, params.channels});
    params.a = a.const_data_ptr<float>();
    const int64_t peepholes = num_peepholes(params.cell);
    PARARNN_REQUIRE(c.has_value() == (peepholes > 0), "c: the LSTM needs it and the GRU has none");
    if (c.has_value()) {
      check_cuda_tensor("c", *c, device, ScalarType::Float, {peepholes, params.channels});
      params.c = c->const_data_ptr<float>();
    }
    check_cuda_tensor("cu_seqlens", cu_seqlens, device, ScalarType::Int, {kAnySize});
    PARARNN_REQUIRE(cu_seqlens.numel() > 0, "cu_seqlens: expected at least one entry");
    params.sequences = {cu_seqlens.numel() - 1, cu_seqlens.const_data_ptr<int32_t>(), nullptr, nullptr};
  }

  // Sequence s starts from row s; the states of all steps are wanted.
  Tensor start_from(const Tensor& initial_state) {
    const int64_t rows = num_states(params.cell);
    check_cuda_tensor("initial_state", initial_state, device, ScalarType::Float,
                      {params.sequences.count, rows, params.channels});
    params.initial_state = initial_state.const_data_ptr<float>();
    params.slot_stride = rows * params.channels;
    params.row_stride = params.channels;
    Tensor states = empty_beside(initial_state, {tokens, rows, params.channels});
    params.states = states.mutable_data_ptr<float>();
    return states;
  }

  // Sequence s goes on from its slot, and only the outputs are wanted.
  Tensor move_on(const Tensor& slots, const Tensor& has_initial_state, Tensor& state) {
    check_cuda_tensor("slots", slots, device, ScalarType::Int, {params.sequences.count});
    check_cuda_tensor("has_initial_state", has_initial_state, device, ScalarType::Bool,
                      {params.sequences.count});
    check_cuda_rows("state", state, device, ScalarType::Float,
                    {kAnySize, num_states(params.cell), params.channels});
    params.sequences.slots = slots.const_data_ptr<int32_t>();
    params.sequences.has_initial_state = has_initial_state.const_data_ptr<bool>();
    params.final_state = state.mutable_data_ptr<float>();
    params.initial_state = params.final_state;
    params.slot_stride = state.stride(0);
    params.row_stride = state.stride(1);
    Tensor y = empty_beside(state, {tokens, params.channels});
    params.y = y.mutable_data_ptr<float>();
    return y;
  }
};

Tensor recurrence(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                  const Tensor& initial_state, const Tensor& cu_seqlens) {
  Inputs inputs(cell, bx, a, c, cu_seqlens);
  const CallersStream stream(inputs.device);
  Tensor states = inputs.start_from(initial_state);
  sequential_scan_cuda(inputs.params, stream.get());
  return states;
}

Tensor recurrence_slots(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                        const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                        Tensor state) {
  Inputs inputs(cell, bx, a, c, cu_seqlens);
  const CallersStream stream(inputs.device);
  Tensor y = inputs.move_on(slots, has_initial_state, state);
  sequential_scan_cuda(inputs.params, stream.get());
  return y;
}

}  // namespace
}  // namespace pararnn

STABLE_TORCH_LIBRARY_IMPL(pararnn, CUDA, library) {
  library.impl("recurrence", TORCH_BOX(&pararnn::recurrence));
  library.impl("recurrence_", TORCH_BOX(&pararnn::recurrence_slots));
}
