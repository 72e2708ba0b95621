// The scans of a GPU, Tensor -> params. Registered when the library loads, beside the schemas of
// bindings.cpp.
#include <torch/csrc/stable/library.h>

#include "kernels.h"
#include "torch/ops_cuda.h"

namespace pararnn {
namespace {

// What all recurrences check and have in common.
struct Inputs {
  int32_t device;
  int64_t tokens;
  RecurrenceParams params{};

  Inputs(int64_t cell, const Tensor& bx, const Tensor& a, const std::optional<Tensor>& c,
         const Tensor& cu_seqlens)
      : device(bx.get_device_index()), tokens(bx.dim() == 3 ? bx.size(0) : 0) {
    const CellSizes& sizes = check_cell(cell);
    params.cell = sizes.kind;
    const bool narrow = bx.scalar_type() == ScalarType::BFloat16;
    check_cuda_tensor("bx", bx, device, narrow ? ScalarType::BFloat16 : ScalarType::Float,
                      {kAnySize, sizes.gates, kAnySize});
    params.bx_dtype = narrow ? DType::kBFloat16 : DType::kFloat32;
    params.bx = bx.const_data_ptr();
    params.channels = bx.size(2);
    check_cuda_tensor("a", a, device, ScalarType::Float, {sizes.recurrent, params.channels});
    params.a = a.const_data_ptr<float>();
    check_has_peepholes(sizes, c.has_value());
    if (c.has_value()) {
      check_cuda_tensor("c", *c, device, ScalarType::Float, {sizes.peepholes, params.channels});
      params.c = c->const_data_ptr<float>();
    }
    check_cuda_tensor("cu_seqlens", cu_seqlens, device, ScalarType::Int, {kAnySize});
    PARARNN_REQUIRE(cu_seqlens.numel() > 0, "cu_seqlens: expected at least one entry");
    params.sequences = {cu_seqlens.numel() - 1, cu_seqlens.const_data_ptr<int32_t>(), nullptr, nullptr};
  }

  void add(const std::optional<Tensor>& bias) {
    if (!bias.has_value()) return;
    check_cuda_tensor("bias", *bias, device, ScalarType::Float,
                      {sizes_of(params.cell).gates, params.channels});
    params.bias = bias->const_data_ptr<float>();
  }

  // Sequence s starts from row s; the states of all steps are wanted.
  Tensor start_from(const Tensor& initial_state) {
    const int64_t rows = sizes_of(params.cell).states;
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
                    {kAnySize, sizes_of(params.cell).states, params.channels});
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
                        Tensor state, std::optional<Tensor> bias) {
  Inputs inputs(cell, bx, a, c, cu_seqlens);
  inputs.add(bias);
  const CallersStream stream(inputs.device);
  Tensor y = inputs.move_on(slots, has_initial_state, state);
  sequential_scan_cuda(inputs.params, stream.get());
  return y;
}

// How a solve went, of each sequence: residual, iterations, fallbacks.
struct Outcome {
  Tensor residual, iterations, fallbacks;

  explicit Outcome(const Tensor& cu_seqlens)
      : residual(empty_beside(cu_seqlens, {cu_seqlens.numel() - 1})),
        iterations(empty_beside(cu_seqlens, {cu_seqlens.numel() - 1}, ScalarType::Int)),
        fallbacks(empty_beside(cu_seqlens, {cu_seqlens.numel() - 1}, ScalarType::Int)) {}

  void solve(const RecurrenceParams& params, double tolerance, int64_t max_iterations, int64_t time_warps,
             void* stream) {
    PARARNN_REQUIRE(tolerance > 0.0, "tolerance: must be positive, got ", tolerance);
    PARARNN_REQUIRE(max_iterations >= 0 && max_iterations <= 1000, "max_iterations: expected 0 to 1000, got ",
                    max_iterations);
    PARARNN_REQUIRE(time_warps == 0 || time_warps == 1 || time_warps == 2 || time_warps == 4,
                    "time_warps: expected 1, 2, 4 or 0, got ", time_warps);
    newton_scan_cuda({params, float(tolerance), int32_t(max_iterations), int32_t(time_warps),
                      static_cast<uint32_t*>(residual.mutable_data_ptr()),
                      iterations.mutable_data_ptr<int32_t>(), fallbacks.mutable_data_ptr<int32_t>()},
                     stream);
  }
};

using Solved = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Solved newton_recurrence(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                         const Tensor& initial_state, const Tensor& cu_seqlens, double tolerance,
                         int64_t max_iterations, int64_t time_warps) {
  Inputs inputs(cell, bx, a, c, cu_seqlens);
  const CallersStream stream(inputs.device);
  Tensor states = inputs.start_from(initial_state);
  Outcome outcome(cu_seqlens);
  outcome.solve(inputs.params, tolerance, max_iterations, time_warps, stream.get());
  return {states, outcome.residual, outcome.iterations, outcome.fallbacks};
}

Solved newton_recurrence_slots(int64_t cell, const Tensor& bx, const Tensor& a, std::optional<Tensor> c,
                               const Tensor& cu_seqlens, const Tensor& slots, const Tensor& has_initial_state,
                               Tensor state, std::optional<Tensor> bias, double tolerance,
                               int64_t max_iterations, int64_t time_warps) {
  Inputs inputs(cell, bx, a, c, cu_seqlens);
  inputs.add(bias);
  const CallersStream stream(inputs.device);
  Tensor y = inputs.move_on(slots, has_initial_state, state);
  Outcome outcome(cu_seqlens);
  outcome.solve(inputs.params, tolerance, max_iterations, time_warps, stream.get());
  return {y, outcome.residual, outcome.iterations, outcome.fallbacks};
}

std::tuple<Tensor, Tensor> linear_scan(const Tensor& jacobian, const Tensor& source,
                                       std::optional<Tensor> entry, const Tensor& cu_seqlens, bool reverse) {
  const int32_t device = source.get_device_index();
  check_cuda_tensor("source", source, device, ScalarType::Float, {kAnySize, kAnySize, kAnySize});
  const int64_t tokens = source.size(0), states = source.size(1), channels = source.size(2);
  PARARNN_REQUIRE(states > 0, "source: expected at least one state row");
  check_cuda_tensor("jacobian", jacobian, device, ScalarType::Float, {tokens, states, states, channels});
  check_cuda_tensor("cu_seqlens", cu_seqlens, device, ScalarType::Int, {kAnySize});
  PARARNN_REQUIRE(cu_seqlens.numel() > 0, "cu_seqlens: expected at least one entry");
  const int64_t count = cu_seqlens.numel() - 1;
  if (entry.has_value())
    check_cuda_tensor("entry", *entry, device, ScalarType::Float, {count, states, channels});
  const CallersStream stream(device);
  Tensor x = empty_beside(source, {tokens, states, channels});
  Tensor exit = empty_beside(source, {count, states, channels});
  linear_scan_cuda({states,
                    {count, cu_seqlens.const_data_ptr<int32_t>(), nullptr, nullptr},
                    channels,
                    reverse,
                    jacobian.const_data_ptr<float>(),
                    source.const_data_ptr<float>(),
                    entry.has_value() ? entry->const_data_ptr<float>() : nullptr,
                    x.mutable_data_ptr<float>(),
                    exit.mutable_data_ptr<float>()},
                   stream.get());
  return {x, exit};
}

}  // namespace
}  // namespace pararnn

PARARNN_CUDA_OPS(library) {
  library.impl("recurrence", TORCH_BOX(&pararnn::recurrence));
  library.impl("recurrence_", TORCH_BOX(&pararnn::recurrence_slots));
  library.impl("newton_recurrence", TORCH_BOX(&pararnn::newton_recurrence));
  library.impl("newton_recurrence_", TORCH_BOX(&pararnn::newton_recurrence_slots));
  library.impl("linear_scan", TORCH_BOX(&pararnn::linear_scan));
}
