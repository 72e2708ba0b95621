// What a layer of RWKV-7 does between its products. Everything is float32, and a row's bits do not depend on
// the rows beside it.
#pragma once

#include "params/sequences.h"

namespace pararnn {

// out = (x - mean) / sqrt(variance + eps) * weight + bias of each row; x and out (rows, width) contiguous,
// and out may be x.
struct LayerNormParams {
  int64_t rows;
  int64_t width;
  const float* x;
  const float* weight;
  const float* bias;
  float eps;
  float* out;
};

enum class Function { kTanh, kSigmoid, kSquaredRelu };

// x = function(x).
struct ApplyParams {
  int64_t size;
  Function function;
  float* x;
};

// out = x + (previous x - x) * mix, where the row before a sequence's first is its state, or 0. x and out
// (tokens, channels) contiguous; mix (channels); the row of slot i at i * slot_stride of state. The state
// becomes the last row if moves_on. Rows of a sequence without a slot are 0.
struct TokenShiftParams {
  Sequences sequences;
  int64_t channels;
  const float* x;
  const float* mix;
  float* state;
  int64_t slot_stride;
  bool moves_on;
  float* out;
};

constexpr int64_t kDeltaHead = 64;

// The delta rule of RWKV-7, one head after the other, with what surrounds it: of each row
//   w = exp(-exp(-1/2) sigmoid(decay));  a = sigmoid(rate);  n = k k_k, normalised to length 1;
//   v += (first_value - v) sigmoid(value_gate);  k *= 1 + (a - 1) k_a
//   S[j][i] = S[j][i] w[j] - (sum over j of S[j][i] n[j]) n[j] a[j] + v[i] k[j];  y[i] = sum over j of
//   S[j][i] r[j] out = (groupnorm(y) + (sum of r k r_k) v) gate
// r, k, v, decay, rate, value_gate, gate, first_value and out (T, heads * 64); the vectors (heads * 64).
// value_gate null: this is the first layer, which writes first_value instead.
// state of slot i: heads matrices (64 of the key, 64 of the value) at i * slot_stride. Rows of a sequence
// without a slot are 0.
struct DeltaRuleParams {
  Sequences sequences;
  int64_t heads;
  const float* r;
  const float* k;
  const float* v;
  const float* decay;
  const float* rate;
  const float* value_gate;
  const float* gate;
  float* first_value;
  const float* k_k;
  const float* k_a;
  const float* r_k;
  const float* norm_weight;
  const float* norm_bias;
  float norm_eps;
  float* state;
  int64_t slot_stride;
  float* out;
};

}  // namespace pararnn
