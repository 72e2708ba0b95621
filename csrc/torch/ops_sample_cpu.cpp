#include <algorithm>
#include <vector>

#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"
#include "torch/sampling_limits.h"

namespace pararnn {
namespace {

constexpr int64_t kMaxTop = 1024;

void check_logits(const Tensor& logits) {
  check_tensor("logits", logits, ScalarType::Float, {kAnySize, kAnySize});
  check_vocab(logits.size(1));
}

template <class Id>
void check_ids(const char* name, const Id* ids, int64_t count, int64_t end) {
  for (int64_t i = 0; i < count; ++i)
    PARARNN_REQUIRE(ids[i] >= 0 && ids[i] < end, name, ": ", ids[i], " is not in [0, ", end, ")");
}

void check_slots(const Tensor& slots, int64_t rows, int64_t num_slots) {
  check_tensor("slots", slots, ScalarType::Int, {rows});
  const int32_t* const ids = slots.const_data_ptr<int32_t>();
  check_ids("slots", ids, rows, num_slots);
  std::vector<bool> used(size_t(num_slots), false);
  for (int64_t i = 0; i < rows; ++i) {
    PARARNN_REQUIRE(!used[size_t(ids[i])], "slots: ", ids[i], " stands twice");
    used[size_t(ids[i])] = true;
  }
}

void check_biases(const Tensor& bounds, const Tensor& ids, const Tensor& biases, int64_t num_slots,
                  int64_t vocab) {
  check_tensor("bias_bounds", bounds, ScalarType::Long, {num_slots + 1});
  check_tensor("bias_ids", ids, ScalarType::Int, {kAnySize});
  check_tensor("biases", biases, ScalarType::Double, {ids.size(0)});
  const int64_t* const ends = bounds.const_data_ptr<int64_t>();
  PARARNN_REQUIRE(
      ends[0] == 0 && ends[num_slots] == ids.size(0) && std::is_sorted(ends, ends + num_slots + 1),
      "bias_bounds: must rise from 0 to ", ids.size(0));
  check_ids("bias_ids", ids.const_data_ptr<int32_t>(), ids.size(0), vocab);
}

// Bitmaps and counts may stop short of the slots that no penalty needs them for.
void check_penalties(const SampleParams& p, int64_t seen_slots, int64_t counted_slots) {
  for (int64_t i = 0; i < p.rows; ++i) {
    const int64_t slot = p.slots[i];
    const SampleNumbers& numbers = p.numbers[slot];
    PARARNN_REQUIRE(numbers.repetition_penalty == 1.0 || slot < seen_slots,
                    "seen: repetition_penalty needs the seen bitmap of slot ", slot);
    const bool counts = numbers.presence_penalty != 0.0 || numbers.frequency_penalty != 0.0;
    PARARNN_REQUIRE(!counts || slot < counted_slots, "counts: a penalty needs the counts of slot ", slot);
  }
}

bool allows_nothing(const int32_t* mask, int64_t vocab) {
  const int64_t whole = vocab / kMaskBits, rest = vocab % kMaskBits;
  if (std::any_of(mask, mask + whole, [](int32_t word) { return word != 0; })) return false;
  return rest == 0 || (uint32_t(mask[whole]) & ((uint32_t(1) << rest) - 1)) == 0;
}

void check_masks(const SampleParams& p) {
  if (p.masks == nullptr) return;
  for (int64_t i = 0; i < p.rows; ++i) {
    const int64_t slot = p.slots[i];
    PARARNN_REQUIRE(!p.masked[slot] || !allows_nothing(p.masks + slot * p.mask_stride, p.vocab),
                    "masks: the mask of slot ", slot, " allows no id");
  }
}

}  // namespace

Tensor sample_op(const Tensor& logits, const Tensor& rows, const Tensor& slots, const Tensor& numbers,
                 Tensor counters, const Tensor& seen, Tensor counts, const Tensor& bias_bounds,
                 const Tensor& bias_ids, const Tensor& biases, const Tensor& masked, const Tensor& masks) {
  check_logits(logits);
  const int64_t vocab = logits.size(1);
  check_tensor("rows", rows, ScalarType::Long, {kAnySize});
  const int64_t count = rows.size(0);
  check_ids("rows", rows.const_data_ptr<int64_t>(), count, logits.size(0));
  check_tensor("numbers", numbers, ScalarType::Double, {kAnySize, kSampleNumbers});
  const int64_t num_slots = numbers.size(0);
  check_tensor("counters", counters, ScalarType::Long, {num_slots, kSampleCounters});
  check_slots(slots, count, num_slots);
  check_tensor("seen", seen, ScalarType::Byte, {kAnySize, (vocab + 7) / 8});
  check_tensor("counts", counts, ScalarType::Int, {kAnySize, vocab});
  check_biases(bias_bounds, bias_ids, biases, num_slots, vocab);
  check_tensor("masked", masked, ScalarType::Bool, {kAnySize});
  const int64_t masked_slots = masked.size(0);
  PARARNN_REQUIRE(masked_slots == 0 || masked_slots == num_slots, "masked: expected 0 or ", num_slots,
                  " rows, got ", masked_slots);
  check_tensor("masks", masks, ScalarType::Int, {masked_slots, mask_words(vocab)});
  Tensor tokens = empty_cpu({count}, ScalarType::Long);
  const SampleParams params{count,
                            vocab,
                            logits.const_data_ptr<float>(),
                            rows.const_data_ptr<int64_t>(),
                            slots.const_data_ptr<int32_t>(),
                            static_cast<const SampleNumbers*>(numbers.const_data_ptr()),
                            static_cast<SampleCounters*>(counters.mutable_data_ptr()),
                            seen.size(0) == 0 ? nullptr : seen.const_data_ptr<uint8_t>(),
                            seen.size(1),
                            counts.size(0) == 0 ? nullptr : counts.mutable_data_ptr<int32_t>(),
                            bias_bounds.const_data_ptr<int64_t>(),
                            bias_ids.const_data_ptr<int32_t>(),
                            biases.const_data_ptr<double>(),
                            masked_slots == 0 ? nullptr : masked.const_data_ptr<bool>(),
                            masked_slots == 0 ? nullptr : masks.const_data_ptr<int32_t>(),
                            masks.size(1),
                            tokens.mutable_data_ptr<int64_t>()};
  check_penalties(params, seen.size(0), counts.size(0));
  check_masks(params);
  sample_cpu(params);
  return tokens;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> token_logprobs_op(const Tensor& logits, const Tensor& rows,
                                                             const Tensor& targets,
                                                             const Tensor& top_counts) {
  check_logits(logits);
  check_tensor("rows", rows, ScalarType::Long, {kAnySize});
  const int64_t count = rows.size(0);
  check_ids("rows", rows.const_data_ptr<int64_t>(), count, logits.size(0));
  check_tensor("targets", targets, ScalarType::Long, {count});
  check_ids("targets", targets.const_data_ptr<int64_t>(), count, logits.size(1));
  check_tensor("top_counts", top_counts, ScalarType::Long, {count});
  const int64_t* const tops = top_counts.const_data_ptr<int64_t>();
  check_ids("top_counts", tops, count, kMaxTop + 1);
  const int64_t widest = count == 0 ? 0 : std::min(*std::max_element(tops, tops + count), logits.size(1));
  Tensor finite = empty_cpu({count}, ScalarType::Bool), logprobs = empty_cpu({count}, ScalarType::Double);
  Tensor top_ids = empty_cpu({count, widest}, ScalarType::Long);
  Tensor top_logprobs = empty_cpu({count, widest}, ScalarType::Double);
  token_logprobs_cpu({count, logits.size(1), logits.const_data_ptr<float>(), rows.const_data_ptr<int64_t>(),
                      targets.const_data_ptr<int64_t>(), tops, widest, finite.mutable_data_ptr<bool>(),
                      logprobs.mutable_data_ptr<double>(), top_ids.mutable_data_ptr<int64_t>(),
                      top_logprobs.mutable_data_ptr<double>()});
  return {finite, logprobs, top_ids, top_logprobs};
}

}  // namespace pararnn
