// Sampling on a GPU, Tensor -> params. Values that decide where to read are taken on trust: to look at them
// would stop the stream.
#include <torch/csrc/stable/library.h>

#include "kernels.h"
#include "torch/ops_cuda.h"
#include "torch/sampling_limits.h"

namespace pararnn {
namespace {

Tensor sample(const Tensor& logits, const Tensor& rows, const Tensor& slots, const Tensor& numbers,
              Tensor counters, const Tensor& seen, Tensor counts, const Tensor& bias_bounds,
              const Tensor& bias_ids, const Tensor& biases, const Tensor& masked, const Tensor& masks) {
  const int32_t device = logits.get_device_index();
  check_cuda_tensor("logits", logits, device, ScalarType::Float, {kAnySize, kAnySize});
  const int64_t vocab = logits.size(1);
  check_vocab(vocab);
  check_cuda_tensor("rows", rows, device, ScalarType::Long, {kAnySize});
  const int64_t count = rows.size(0);
  check_cuda_tensor("slots", slots, device, ScalarType::Int, {count});
  check_cuda_tensor("numbers", numbers, device, ScalarType::Double, {kAnySize, kSampleNumbers});
  const int64_t num_slots = numbers.size(0);
  check_cuda_tensor("counters", counters, device, ScalarType::Long, {num_slots, kSampleCounters});
  check_cuda_tensor("seen", seen, device, ScalarType::Byte, {kAnySize, (vocab + 7) / 8});
  check_cuda_tensor("counts", counts, device, ScalarType::Int, {kAnySize, vocab});
  check_cuda_tensor("bias_bounds", bias_bounds, device, ScalarType::Long, {num_slots + 1});
  check_cuda_tensor("bias_ids", bias_ids, device, ScalarType::Int, {kAnySize});
  check_cuda_tensor("biases", biases, device, ScalarType::Double, {bias_ids.size(0)});
  check_cuda_tensor("masked", masked, device, ScalarType::Bool, {kAnySize});
  const int64_t masked_slots = masked.size(0);
  PARARNN_REQUIRE(masked_slots == 0 || masked_slots == num_slots, "masked: expected 0 or ", num_slots,
                  " rows, got ", masked_slots);
  check_cuda_tensor("masks", masks, device, ScalarType::Int, {masked_slots, mask_words(vocab)});
  const CallersStream stream(device);
  Tensor tokens = empty_beside(rows, {count}, ScalarType::Long);
  sample_cuda({count, vocab, logits.const_data_ptr<float>(), rows.const_data_ptr<int64_t>(),
               slots.const_data_ptr<int32_t>(), static_cast<const SampleNumbers*>(numbers.const_data_ptr()),
               static_cast<SampleCounters*>(counters.mutable_data_ptr()),
               seen.size(0) == 0 ? nullptr : seen.const_data_ptr<uint8_t>(), seen.size(1),
               counts.size(0) == 0 ? nullptr : counts.mutable_data_ptr<int32_t>(),
               bias_bounds.const_data_ptr<int64_t>(), bias_ids.const_data_ptr<int32_t>(),
               biases.const_data_ptr<double>(), masked_slots == 0 ? nullptr : masked.const_data_ptr<bool>(),
               masked_slots == 0 ? nullptr : masks.const_data_ptr<int32_t>(), masks.size(1),
               tokens.mutable_data_ptr<int64_t>()},
              stream.get());
  return tokens;
}

}  // namespace
}  // namespace pararnn

PARARNN_CUDA_OPS(library) { library.impl("sample", TORCH_BOX(&pararnn::sample)); }
