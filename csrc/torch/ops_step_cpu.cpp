// The step of a model of any architecture.
#include <unordered_map>

#include "torch/native_model.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

class Models {
 public:
  int64_t add(std::shared_ptr<NativeModel> model) {
    const std::lock_guard<std::mutex> lock(mutex_);
    models_[++last_] = std::move(model);
    return last_;
  }

  std::shared_ptr<NativeModel> find(int64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = models_.find(handle);
    PARARNN_REQUIRE(found != models_.end(), "model: ", handle, " is no model, or was freed");
    return found->second;
  }

  // A step that runs keeps its model until it ends.
  void remove(int64_t handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    models_.erase(handle);
  }

  static Models& all() {
    static Models* const instance = new Models;  // never destroyed: finalizers may run after main
    return *instance;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<NativeModel>> models_;
  int64_t last_ = 0;
};

}  // namespace

int64_t add_model(std::shared_ptr<NativeModel> model) { return Models::all().add(std::move(model)); }

void model_free_op(int64_t model) { Models::all().remove(model); }

Tensor model_step_op(int64_t model, const Tensor& tokens, const Tensor& cu_seqlens, const Tensor& slots,
                     std::optional<Tensor> has_initial_state, std::optional<Tensor> logits_indices,
                     std::vector<Tensor> state, std::optional<Tensor> stage_seconds,
                     std::optional<Tensor> hidden_indices, std::optional<Tensor> hidden) {
  const std::shared_ptr<NativeModel> shared = Models::all().find(model);
  const std::lock_guard<std::mutex> lock(shared->mutex);
  PartReader parts(state);
  shared->read_pool(parts);
  read_indices("tokens", tokens, shared->vocab(), shared->tokens);
  const int64_t count = int64_t(shared->tokens.size());
  const Sequences sequences = check_sequences(cu_seqlens, slots, has_initial_state, count, parts.slots());
  check_no_empty_sequence(sequences);
  if (logits_indices.has_value()) {
    read_indices("logits_indices", *logits_indices, count, shared->rows);
  } else {
    shared->rows.clear();
    for (int64_t s = 0; s < sequences.count; ++s) shared->rows.push_back(sequences.cu_seqlens[s + 1] - 1);
  }
  const int64_t num_rows = int64_t(shared->rows.size());
  PARARNN_REQUIRE(hidden_indices.has_value() == hidden.has_value(),
                  "hidden: it comes with hidden_indices, and they with it");
  shared->hidden_rows.clear();
  if (hidden.has_value()) {
    read_indices("hidden_indices", *hidden_indices, count, shared->hidden_rows);
    check_tensor("hidden", *hidden, ScalarType::Float,
                 {int64_t(shared->hidden_rows.size()), shared->hidden()});
  }
  if (stage_seconds.has_value()) check_tensor("stage_seconds", *stage_seconds, ScalarType::Double, {kStages});
  Tensor logits = empty_cpu({num_rows, shared->vocab()});
  if (sequences.count == 0) return logits;
  shared->step({sequences, shared->tokens.data(), num_rows, shared->rows.data(),
                logits.mutable_data_ptr<float>(),
                stage_seconds.has_value() ? stage_seconds->mutable_data_ptr<double>() : nullptr,
                int64_t(shared->hidden_rows.size()), shared->hidden_rows.data(),
                hidden.has_value() ? hidden->mutable_data_ptr<float>() : nullptr});
  return logits;
}

}  // namespace pararnn
