// One step of an RWKV-7: the kernels of kernels.h, one after the other, on memory that stays.
#include "cpu/models/final_rows.h"
#include "cpu/models/stage_clock.h"
#include "kernels.h"
#include "models/rwkv7_model.h"

namespace pararnn {
namespace {

constexpr int64_t kBuffers = 12;  // of rows as wide as a layer

class Step {
 public:
  Step(const Rwkv7Weights& model, const Rwkv7Pool& pool, const StepBatch& batch, StepWorkspace& workspace)
      : model_(model),
        pool_(pool),
        batch_(batch),
        d_(model.hidden),
        rows_(batch.sequences.cu_seqlens[batch.sequences.count]),
        needed_(batch, workspace.rows),
        clock_(batch.stage_seconds) {
    const int64_t low = std::max({model.decay_rank, model.rate_rank, model.value_gate_rank, model.gate_rank});
    // r_ to gate_ serve the time mixing, and after it the channel mixing.
    const int64_t wide = std::max(kBuffers * d_ + low, 5 * d_ + model.channel_hidden);
    const int64_t finals = std::max(batch.num_rows, batch.sequences.count);
    const size_t floats = size_t(rows_ * wide + finals * d_);
    if (workspace.floats.size() < floats) workspace.floats.resize(floats);
    float* next = workspace.floats.data();
    const auto take = [&](int64_t size) { return std::exchange(next, next + size); };
    finals_ = take(finals * d_);
    for (float** rows :
         {&x_, &first_value_, &normed_, &mixed_, &y_, &r_, &k_, &v_, &decay_, &rate_, &value_gate_, &gate_})
      *rows = take(rows_ * d_);
    low_ = next;
  }

  void run() {
    embedding_cpu({model_.embedding, rows_, batch_.tokens, x_});
    clock_.spent_on(Stage::kEmbedding);
    norm(rows_, x_, model_.first_norm.weight, model_.first_norm.bias, x_);
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      mix_time(model_.layers[layer], int64_t(layer));
      mix_channels(model_.layers[layer], int64_t(layer));
    }
    finish();
  }

 private:
  void multiply(Stage stage, const PackedMatrix& weight, const float* x, const float* bias, float* out) {
    linear_cpu({weight, rows_, x, bias, out});
    clock_.spent_on(stage);
  }

  void norm(int64_t rows, const float* x, const float* weight, const float* bias, float* out) {
    layer_norm_cpu({rows, d_, x, weight, bias, model_.norm_eps, out});
    clock_.spent_on(Stage::kNorms);
  }

  // Into mixed_.
  void shift(float* state, const float* mix, bool moves_on) {
    token_shift_cpu({batch_.sequences, d_, normed_, mix, state, d_, moves_on, mixed_});
    clock_.spent_on(Stage::kConvolution);
  }

  // out = function(mixed_ down) up + bias, without a function if it is null.
  void low_rank(const PackedMatrix& down, const Function* function, const PackedMatrix& up, const float* bias,
                float* out) {
    linear_cpu({down, rows_, mixed_, nullptr, low_});
    if (function != nullptr) apply_cpu({rows_ * down.shape.outputs, *function, low_});
    multiply(Stage::kCellInput, up, low_, bias, out);
  }

  void mix_time(const Rwkv7Layer& w, int64_t layer) {
    constexpr Function kTanh = Function::kTanh, kSigmoid = Function::kSigmoid;
    const bool is_first = layer == 0;
    float* const state = pool_.time_shift + layer * pool_.slots * d_;
    norm(rows_, x_, w.time_norm_weight, w.time_norm_bias, normed_);
    const auto mixed = [&](int64_t which) { shift(state, w.mixes + which * d_, which == 5); };
    mixed(0);
    multiply(Stage::kInProj, w.receptance, mixed_, nullptr, r_);
    mixed(1);
    low_rank(w.decay_down, &kTanh, w.decay_up, w.decay, decay_);
    mixed(2);
    multiply(Stage::kInProj, w.key, mixed_, nullptr, k_);
    mixed(3);
    multiply(Stage::kInProj, w.value, mixed_, nullptr, v_);
    if (!is_first) low_rank(w.value_gate_down, nullptr, w.value_gate_up, w.value_gate, value_gate_);
    mixed(4);
    low_rank(w.rate_down, nullptr, w.rate_up, w.rate, rate_);
    mixed(5);
    low_rank(w.gate_down, &kSigmoid, w.gate_up, nullptr, gate_);
    const int64_t head_bytes = kDeltaHead * d_;
    delta_rule_cpu({batch_.sequences, d_ / kDeltaHead, r_, k_, v_, decay_, rate_,
                    is_first ? nullptr : value_gate_, gate_, first_value_, w.k_k, w.k_a, w.r_k,
                    w.head_norm_weight, w.head_norm_bias, model_.head_norm_eps,
                    pool_.heads + layer * pool_.slots * head_bytes, head_bytes, mixed_});
    clock_.spent_on(Stage::kRecurrence);
    multiply(Stage::kOutProj, w.output, mixed_, nullptr, y_);
    add(y_);
  }

  void mix_channels(const Rwkv7Layer& w, int64_t layer) {
    norm(rows_, x_, w.channel_norm_weight, w.channel_norm_bias, normed_);
    shift(pool_.channel_shift + layer * pool_.slots * d_, w.channel_mix, true);
    if (layer + 1 == int64_t(model_.layers.size())) keep_needed();
    float* const active = r_;
    multiply(Stage::kGateUp, w.channel_key, mixed_, nullptr, active);
    apply_cpu({rows_ * model_.channel_hidden, Function::kSquaredRelu, active});
    clock_.spent_on(Stage::kSiluMul);
    multiply(Stage::kDownProj, w.channel_value, active, nullptr, y_);
    add(y_);
  }

  void add(const float* y) {
    add_scaled_cpu({rows_ * d_, x_, nullptr, y, x_});
    clock_.spent_on(Stage::kResiduals);
  }

  // No row after this one reads its neighbours.
  void keep_needed() {
    needed_.keep(x_, d_);
    needed_.keep(mixed_, d_);
    rows_ = needed_.count();
  }

  void finish() {
    needed_.finish(pool_.outcome, x_, d_, finals_, [&](int64_t count, float* rows) {
      layer_norm_cpu({count, d_, rows, model_.norm.weight, model_.norm.bias, model_.norm_eps, rows});
    });
    clock_.spent_on(Stage::kFinalRows);
    linear_cpu({model_.head, batch_.num_rows, finals_, nullptr, batch_.logits});
    clock_.spent_on(Stage::kHead);
  }

  const Rwkv7Weights& model_;
  const Rwkv7Pool& pool_;
  const StepBatch& batch_;
  const int64_t d_;
  int64_t rows_;
  const FinalRows needed_;
  StageClock clock_;
  float *x_, *first_value_, *normed_, *mixed_, *y_, *r_, *k_, *v_, *decay_, *rate_, *value_gate_, *gate_;
  float* low_;
  float* finals_;
};

}  // namespace

void rwkv7_step_cpu(const Rwkv7Weights& model, const Rwkv7Pool& pool, const StepBatch& batch,
                    StepWorkspace& workspace) {
  Step(model, pool, batch, workspace).run();
}

}  // namespace pararnn
