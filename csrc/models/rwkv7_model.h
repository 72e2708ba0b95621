// A whole RWKV-7 as the CPU reads it.
#pragma once

#include "models/step.h"

namespace pararnn {

// The tensors of a layer, in the order in which rwkv7_create takes them: matrices packed, vectors float32.
// Sizes after the names: of a vector its shape, of a matrix inputs and outputs; d channels, f inside of the
// channel mixing, W, A, V and G ranks of the decay, the rate, the value's gate and the gate. A tensor with a
// size of 0 has no elements: V is 0 in the first layer, and v then too. mixes: of r, w, k, v, a and g, in
// this order.
#define PARARNN_RWKV7_LAYER_TENSORS(VECTOR, MATRIX) \
  VECTOR(time_norm_weight, d)                       \
  VECTOR(time_norm_bias, d)                         \
  VECTOR(mixes, 6, d)                               \
  MATRIX(receptance, d, d)                          \
  MATRIX(key, d, d)                                 \
  MATRIX(value, d, d)                               \
  VECTOR(decay, d)                                  \
  MATRIX(decay_down, d, W)                          \
  MATRIX(decay_up, W, d)                            \
  VECTOR(rate, d)                                   \
  MATRIX(rate_down, d, A)                           \
  MATRIX(rate_up, A, d)                             \
  VECTOR(value_gate, v)                             \
  MATRIX(value_gate_down, d, V)                     \
  MATRIX(value_gate_up, V, d)                       \
  MATRIX(gate_down, d, G)                           \
  MATRIX(gate_up, G, d)                             \
  VECTOR(k_k, d)                                    \
  VECTOR(k_a, d)                                    \
  VECTOR(r_k, d)                                    \
  VECTOR(head_norm_weight, d)                       \
  VECTOR(head_norm_bias, d)                         \
  MATRIX(output, d, d)                              \
  VECTOR(channel_norm_weight, d)                    \
  VECTOR(channel_norm_bias, d)                      \
  VECTOR(channel_mix, d)                            \
  MATRIX(channel_key, d, f)                         \
  MATRIX(channel_value, f, d)

struct Rwkv7Layer {
#define PARARNN_VECTOR(name, ...) const float* name;
#define PARARNN_MATRIX(name, ...) PackedMatrix name;
  PARARNN_RWKV7_LAYER_TENSORS(PARARNN_VECTOR, PARARNN_MATRIX)
#undef PARARNN_VECTOR
#undef PARARNN_MATRIX
};

struct NormWeights {
  const float* weight;
  const float* bias;
};

struct Rwkv7Weights {
  int64_t hidden;
  int64_t channel_hidden;
  int64_t decay_rank, rate_rank, value_gate_rank, gate_rank;
  int64_t vocab;
  float norm_eps;
  float head_norm_eps;
  PackedMatrix embedding;
  NormWeights first_norm;
  std::vector<Rwkv7Layer> layers;
  NormWeights norm;
  PackedMatrix head;
};

// The pool. Of layer l and slot i: heads (heads, 64 of the key, 64 of the value), time_shift (d) and
// channel_shift (d), contiguous by layer, slot and the rest.
struct Rwkv7Pool {
  float* heads;
  float* time_shift;
  float* channel_shift;
  int64_t slots;
  OutcomePool outcome;
};

// Embedding to logits, for at least one sequence, none of them empty; the states, last_hidden and seen of
// every sequence that has a slot move on. Allocates only where `workspace` never held so many rows.
void rwkv7_step_cpu(const Rwkv7Weights& model, const Rwkv7Pool& pool, const StepBatch& batch,
                    StepWorkspace& workspace);

}  // namespace pararnn
