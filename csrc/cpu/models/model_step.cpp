// One step of the whole model: the kernels of kernels.h, one after the other, on memory that stays.
#include "cpu/models/final_rows.h"
#include "cpu/models/stage_clock.h"
#include "kernels.h"
#include "models/model.h"

namespace pararnn {
namespace {

class Step {
 public:
  Step(const ModelWeights& model, const StatePool& pool, const StepBatch& batch, StepWorkspace& workspace)
      : model_(model),
        pool_(pool),
        batch_(batch),
        d_(model.hidden),
        rows_(batch.sequences.cu_seqlens[batch.sequences.count]),
        needed_(batch, workspace.rows),
        clock_(batch.stage_seconds) {
    // `wide_` serves the mixer (v and gate, then bx) and after it the MLP (gate and up, then their product).
    const int64_t wide = std::max((2 + sizes_of(model_.cell).gates) * d_, 3 * model_.mlp_hidden);
    const int64_t finals = std::max(batch.num_rows, batch.sequences.count);
    const size_t floats = size_t(rows_ * (3 * d_ + wide) + finals * d_);
    if (workspace.floats.size() < floats) workspace.floats.resize(floats);
    x_ = workspace.floats.data();
    n_ = x_ + rows_ * d_;
    y_ = n_ + rows_ * d_;
    wide_ = y_ + rows_ * d_;
    finals_ = wide_ + rows_ * wide;
  }

  void run() {
    embedding_cpu({model_.embedding, rows_, batch_.tokens, x_});
    clock_.spent_on(Stage::kEmbedding);
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      mix(model_.layers[layer], int64_t(layer));
      if (model_.mlp_hidden > 0) mlp(model_.layers[layer]);
    }
    finish();
  }

 private:
  void multiply(Stage stage, const PackedMatrix& weight, int64_t rows, const float* x, const float* bias,
                float* out) {
    linear_cpu({weight, rows, x, bias, out});
    clock_.spent_on(stage);
  }

  // A copy without a weight.
  void norm(int64_t rows, const float* x, const float* weight, float* out) const {
    if (weight == nullptr) {
      if (x != out) memcpy(out, x, size_t(rows * d_) * sizeof(float));
      return;
    }
    rms_norm_cpu({rows, d_, x, weight, model_.norm_eps, out});
  }

  void mix(const LayerWeights& w, int64_t layer) {
    float* const v_and_gate = wide_;
    float* const bx = wide_ + 2 * rows_ * d_;
    const float* const inputs = cell_inputs(w, layer, v_and_gate);
    multiply(Stage::kCellInput, w.cell_input, rows_, inputs, w.cell_bias, bx);
    recur(w, layer, bx);
    clock_.spent_on(Stage::kRecurrence);
    if (layer + 1 == int64_t(model_.layers.size())) keep_needed(v_and_gate);
    const float* mixed = open_gate(w, v_and_gate);
    clock_.spent_on(Stage::kGate);
    if (w.out_proj.data != nullptr) {
      float* const projected = mixed == y_ ? n_ : y_;
      multiply(Stage::kOutProj, w.out_proj, rows_, mixed, nullptr, projected);
      mixed = projected;
    }
    add_scaled_cpu({rows_ * d_, x_, w.residual_scale, mixed, x_});
    clock_.spent_on(Stage::kResiduals);
  }

  // Rows of v in v_and_gate are v_stride() apart.
  int64_t v_stride() const { return has_gate(model_.gate_order) ? 2 * d_ : d_; }

  // The rows (rows_, d) that the cell reads. The gate, if there is one, stays in v_and_gate.
  const float* cell_inputs(const LayerWeights& w, int64_t layer, float* v_and_gate) {
    const bool projects = w.in_proj.data != nullptr, convolves = model_.conv_width > 0;
    // The convolution cannot write where it reads.
    float* const normed = !projects && convolves ? v_and_gate : n_;
    norm(rows_, x_, w.norm, normed);
    clock_.spent_on(Stage::kNorms);
    if (projects) multiply(Stage::kInProj, w.in_proj, rows_, normed, nullptr, v_and_gate);
    if (convolves) convolve(w, layer, v_and_gate);
    // The product takes rows without gaps.
    const bool copies = projects && !convolves && has_gate(model_.gate_order);
    for (int64_t i = 0; copies && i < rows_; ++i) {
      memcpy(n_ + i * d_, v_and_gate + i * v_stride(), size_t(d_) * sizeof(float));
    }
    clock_.spent_on(Stage::kConvolution);
    return projects && !convolves && !copies ? v_and_gate : n_;
  }

  // The cell's rows y_ after gate and norm: in n_, or y_ itself without either.
  const float* open_gate(const LayerWeights& w, const float* v_and_gate) {
    if (model_.gate_order == GateOrder::kNone) return y_;
    if (model_.gate_order == GateOrder::kNormOnly) {
      norm(rows_, y_, w.gate_norm, n_);
    } else {
      gated_rms_norm_cpu({rows_, d_, y_, DType::kFloat32, v_and_gate + d_, v_stride(), w.gate_norm,
                          model_.norm_eps, model_.gate_order, n_});
    }
    return n_;
  }

  void convolve(const LayerWeights& w, int64_t layer, const float* v) {
    const int64_t element = pool_.conv_dtype == DType::kFloat32 ? 4 : 2;
    uint8_t* const state = static_cast<uint8_t*>(pool_.conv) + layer * pool_.conv_layer_stride * element;
    causal_conv1d_cpu({batch_.sequences, rows_, d_, model_.conv_width, DType::kFloat32, v, v_stride(),
                       w.conv_taps, 1, d_, w.conv_bias, model_.conv_activation, pool_.conv_dtype, state,
                       pool_.conv_slot_stride, d_, n_});
  }

  void recur(const LayerWeights& w, int64_t layer, const float* bx) {
    float* const state = pool_.cell + layer * pool_.cell_layer_stride;
    recurrence_cpu({model_.cell, batch_.sequences, d_, DType::kFloat32, bx, nullptr, w.a, w.c, state, state,
                    pool_.cell_slot_stride, d_, nullptr, y_});
  }

  void mlp(const LayerWeights& w) {
    const int64_t m = model_.mlp_hidden;
    float* const gate_up = wide_;
    float* const active = wide_ + 2 * rows_ * m;
    norm(rows_, x_, w.mlp_norm, n_);
    clock_.spent_on(Stage::kNorms);
    multiply(Stage::kGateUp, w.gate_up, rows_, n_, nullptr, gate_up);
    silu_mul_cpu({rows_, m, DType::kFloat32, gate_up, 2 * m, gate_up + m, 2 * m, active});
    clock_.spent_on(Stage::kSiluMul);
    multiply(Stage::kDownProj, w.down_proj, rows_, active, nullptr, model_.mlp_residual ? y_ : x_);
    if (model_.mlp_residual) add_scaled_cpu({rows_ * d_, x_, nullptr, y_, x_});
    clock_.spent_on(Stage::kResiduals);
  }

  // Past the last recurrence.
  void keep_needed(float* v_and_gate) {
    needed_.keep(x_, d_);
    needed_.keep(y_, d_);
    if (has_gate(model_.gate_order)) needed_.keep(v_and_gate, v_stride());
    rows_ = needed_.count();
  }

  void finish() {
    needed_.finish(pool_.outcome, x_, d_, finals_,
                   [&](int64_t count, float* rows) { norm(count, rows, model_.norm, rows); });
    clock_.spent_on(Stage::kFinalRows);
    linear_cpu({model_.head, batch_.num_rows, finals_, model_.head_bias, batch_.logits});
    clock_.spent_on(Stage::kHead);
  }

  const ModelWeights& model_;
  const StatePool& pool_;
  const StepBatch& batch_;
  const int64_t d_;
  int64_t rows_;
  const FinalRows needed_;
  StageClock clock_;
  float* x_;
  float* n_;
  float* y_;
  float* wide_;
  float* finals_;
};

}  // namespace

void model_step_cpu(const ModelWeights& model, const StatePool& pool, const StepBatch& batch,
                    StepWorkspace& workspace) {
  Step(model, pool, batch, workspace).run();
}

}  // namespace pararnn
