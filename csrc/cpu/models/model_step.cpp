// One step of the whole model: the kernels of kernels.h, one after the other, on memory that stays.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels.h"
#include "model.h"

namespace pararnn {
namespace {

class Step {
 public:
  Step(const StepParams& params, StepWorkspace& workspace)
      : p_(params),
        model_(params.model),
        d_(model_.hidden),
        rows_(params.sequences.cu_seqlens[params.sequences.count]),
        needed_(workspace.rows) {
    // `wide_` serves the mixer (v and gate, then bx) and after it the MLP (gate and up, then their product).
    const int64_t wide = std::max((2 + sizes_of(model_.cell).gates) * d_, 3 * model_.mlp_hidden);
    const int64_t finals = std::max(p_.num_rows, p_.sequences.count);
    const size_t floats = size_t(rows_ * (3 * d_ + wide) + finals * d_);
    if (workspace.floats.size() < floats) workspace.floats.resize(floats);
    x_ = workspace.floats.data();
    n_ = x_ + rows_ * d_;
    y_ = n_ + rows_ * d_;
    wide_ = y_ + rows_ * d_;
    finals_ = wide_ + rows_ * wide;
    choose_needed_rows();
  }

  void run() {
    began_ = now();
    embedding_cpu({model_.embedding, rows_, p_.tokens, x_});
    spent_on(Stage::kEmbedding);
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      mix(model_.layers[layer], int64_t(layer));
      mlp(model_.layers[layer]);
    }
    remember();
    for (int64_t i = 0; i < p_.num_hidden; ++i) take_final(p_.hidden_rows[i], p_.hidden + i * d_);
    norm(p_.num_hidden, p_.hidden, model_.norm, p_.hidden);
    for (int64_t i = 0; i < p_.num_rows; ++i) take_final(p_.rows[i], finals_ + i * d_);
    norm(p_.num_rows, finals_, model_.norm, finals_);
    spent_on(Stage::kFinalRows);
    multiply(Stage::kHead, model_.head, p_.num_rows, finals_, nullptr, p_.logits);
  }

 private:
  static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

  void spent_on(Stage stage) {
    if (p_.stage_seconds == nullptr) return;
    const auto end = now();
    p_.stage_seconds[int(stage)] += std::chrono::duration<double>(end - began_).count();
    began_ = end;
  }

  void multiply(Stage stage, const PackedMatrix& weight, int64_t rows, const float* x, const float* bias,
                float* out) {
    linear_cpu({weight, rows, x, bias, out});
    spent_on(stage);
  }

  void norm(int64_t rows, const float* x, const float* weight, float* out) const {
    rms_norm_cpu({rows, d_, x, weight, model_.norm_eps, out});
  }

  void mix(const LayerWeights& w, int64_t layer) {
    float* const v_and_gate = wide_;
    float* const bx = wide_ + 2 * rows_ * d_;
    norm(rows_, x_, w.norm, n_);
    spent_on(Stage::kNorms);
    multiply(Stage::kInProj, w.in_proj, rows_, n_, nullptr, v_and_gate);
    convolve(w, layer, v_and_gate);
    spent_on(Stage::kConvolution);
    multiply(Stage::kCellInput, w.cell_input, rows_, n_, w.cell_bias, bx);
    recur(w, layer, bx);
    spent_on(Stage::kRecurrence);
    if (layer + 1 == int64_t(model_.layers.size())) drop_rows(v_and_gate);
    gated_rms_norm_cpu({rows_, d_, y_, DType::kFloat32, v_and_gate + d_, 2 * d_, w.gate_norm, model_.norm_eps,
                        model_.gate_order, n_});
    spent_on(Stage::kGate);
    multiply(Stage::kOutProj, w.out_proj, rows_, n_, nullptr, y_);
    add_scaled_cpu({rows_ * d_, x_, w.residual_scale, y_, x_});
    spent_on(Stage::kResiduals);
  }

  void convolve(const LayerWeights& w, int64_t layer, const float* v) {
    const StatePool& pool = p_.pool;
    const int64_t element = pool.conv_dtype == DType::kFloat32 ? 4 : 2;
    uint8_t* const state = static_cast<uint8_t*>(pool.conv) + layer * pool.conv_layer_stride * element;
    causal_conv1d_cpu({p_.sequences, rows_, d_, model_.conv_width, DType::kFloat32, v, 2 * d_, w.conv_taps, 1,
                       d_, w.conv_bias, model_.conv_activation, pool.conv_dtype, state, pool.conv_slot_stride,
                       d_, n_});
  }

  void recur(const LayerWeights& w, int64_t layer, const float* bx) {
    float* const state = p_.pool.cell + layer * p_.pool.cell_layer_stride;
    recurrence_cpu({model_.cell, p_.sequences, d_, DType::kFloat32, bx, nullptr, w.a, w.c, state, state,
                    p_.pool.cell_slot_stride, d_, nullptr, y_});
  }

  void mlp(const LayerWeights& w) {
    const int64_t m = model_.mlp_hidden;
    float* const gate_up = wide_;
    float* const active = wide_ + 2 * rows_ * m;
    norm(rows_, x_, w.mlp_norm, n_);
    spent_on(Stage::kNorms);
    multiply(Stage::kGateUp, w.gate_up, rows_, n_, nullptr, gate_up);
    silu_mul_cpu({rows_, m, DType::kFloat32, gate_up, 2 * m, gate_up + m, 2 * m, active});
    spent_on(Stage::kSiluMul);
    multiply(Stage::kDownProj, w.down_proj, rows_, active, nullptr, model_.mlp_residual ? y_ : x_);
    if (model_.mlp_residual) add_scaled_cpu({rows_ * d_, x_, nullptr, y_, x_});
    spent_on(Stage::kResiduals);
  }

  // Past the last recurrence only the rows that somebody reads go on: the last of each sequence, `rows` and
  // `hidden_rows`.
  void choose_needed_rows() {
    needed_.clear();
    for (int64_t s = 0; s < p_.sequences.count; ++s) needed_.push_back(last_row(s));
    needed_.insert(needed_.end(), p_.rows, p_.rows + p_.num_rows);
    needed_.insert(needed_.end(), p_.hidden_rows, p_.hidden_rows + p_.num_hidden);
    std::sort(needed_.begin(), needed_.end());
    needed_.erase(std::unique(needed_.begin(), needed_.end()), needed_.end());
  }

  void drop_rows(float* v_and_gate) {
    if (int64_t(needed_.size()) == rows_) return;
    rows_ = int64_t(needed_.size());
    for (int64_t to = 0; to < rows_; ++to) {
      const int64_t from = needed_[size_t(to)];
      copy_row(x_, from, to, d_);
      copy_row(y_, from, to, d_);
      copy_row(v_and_gate, from, to, 2 * d_);
    }
  }

  static void copy_row(float* rows, int64_t from, int64_t to, int64_t width) {
    if (from != to) memcpy(rows + to * width, rows + from * width, size_t(width) * sizeof(float));
  }

  int64_t last_row(int64_t sequence) const { return p_.sequences.cu_seqlens[sequence + 1] - 1; }

  // Copies row `row` of the batch, wherever it stands by now.
  void take_final(int64_t row, float* to) const {
    const auto place = std::lower_bound(needed_.begin(), needed_.end(), row) - needed_.begin();
    memcpy(to, x_ + place * d_, size_t(d_) * sizeof(float));
  }

  // last_hidden and the seen bits of every sequence that has a slot.
  void remember() {
    for (int64_t s = 0; s < p_.sequences.count; ++s) take_final(last_row(s), finals_ + s * d_);
    norm(p_.sequences.count, finals_, model_.norm, finals_);
    for (int64_t s = 0; s < p_.sequences.count; ++s) {
      const int64_t slot = p_.sequences.slots[s];
      if (slot == kPadSlotId) continue;
      memcpy(p_.pool.last_hidden + slot * d_, finals_ + s * d_, size_t(d_) * sizeof(float));
      uint8_t* const seen = p_.pool.seen + slot * p_.pool.seen_stride;
      if (!goes_on(p_.sequences, s)) memset(seen, 0, size_t(p_.pool.seen_stride));
      for (int64_t t = p_.sequences.cu_seqlens[s]; t <= last_row(s); ++t) {
        seen[p_.tokens[t] / 8] |= uint8_t(1u << (p_.tokens[t] % 8));
      }
    }
  }

  const StepParams& p_;
  const ModelWeights& model_;
  const int64_t d_;
  int64_t rows_;
  std::vector<int64_t>& needed_;  // ascending
  float* x_;
  float* n_;
  float* y_;
  float* wide_;
  float* finals_;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace

void model_step_cpu(const StepParams& params, StepWorkspace& workspace) { Step(params, workspace).run(); }

}  // namespace pararnn
