// What a kernel is told: sizes, strides (in elements) and pointers. Nothing here knows Torch.
#pragma once

#include <cstdint>

#include "cells.h"

namespace pararnn {

constexpr int32_t kPadSlotId = -1;

constexpr int64_t kTileOutputs = 16;
constexpr int64_t kMaxConvWidth = 8;

enum class DType { kFloat32, kBFloat16 };
enum class Activation { kNone, kSilu };
enum class GateOrder { kGateThenNorm, kNormThenGate };

// S sequences packed end to end: sequence s owns rows cu_seqlens[s] .. cu_seqlens[s + 1].
// Without `slots` sequence s uses state row s. A sequence in kPadSlotId is skipped and its outputs are 0.
struct Sequences {
  int64_t count;
  const int32_t* cu_seqlens;
  const int32_t* slots;
  const bool* has_initial_state;  // null: all
};

constexpr bool goes_on(const Sequences& sequences, int64_t sequence) {
  return sequences.has_initial_state == nullptr || sequences.has_initial_state[sequence];
}

constexpr int64_t mean_length(const Sequences& sequences) {
  return sequences.count == 0 ? 0 : sequences.cu_seqlens[sequences.count] / sequences.count;
}

// bx (T, G, D); a (G, D); c (P, D), null without peepholes; states of slot i, row n at i * slot_stride +
// n * row_stride.
template <class Input>
struct Recurrence {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  const Input* bx;
  const float* a;
  const float* c;
  const float* initial_state;
  float* final_state;  // may be initial_state; null: not wanted
  int64_t slot_stride;
  int64_t row_stride;
  float* states;  // (T, N, D) or null
  float* y;       // (T, D), the last state row, or null
};

struct RecurrenceParams : Recurrence<float> {};

// Contiguous: initial_state (S, N, D); states, grad_states (T, N, D); bx, grad_bx (T, G, D).
// grad_parameters (S, G + P, D) takes one sum per sequence: rows of a, then the P rows of c.
struct RecurrenceBackwardParams {
  CellKind cell;
  Sequences sequences;
  int64_t channels;
  const float* bx;
  const float* a;
  const float* c;
  const float* initial_state;
  const float* states;
  const float* grad_states;
  float* grad_bx;
  float* grad_initial_state;
  float* grad_parameters;
};

// A block-diagonal weight of heads x gates blocks, each (outputs, inputs); a plain matrix is one block.
struct BlockShape {
  int64_t heads;
  int64_t gates;
  int64_t inputs;
  int64_t outputs;
};

constexpr int64_t tiles_per_block(const BlockShape& shape) {
  return (shape.outputs + kTileOutputs - 1) / kTileOutputs;
}

enum class WeightFormat { kFloat32, kBFloat16, kInt8, kInt4 };

constexpr bool is_quantized(WeightFormat format) {
  return format == WeightFormat::kInt8 || format == WeightFormat::kInt4;
}

// A weight as one level packs it: [head][gate][tile of 16 outputs], outputs past the end 0. A tile is
//   float32   [input][16]
//   bfloat16  [pair of inputs][16][2]
//   int8      [4 inputs][16][4] bytes, value + 128
//   int4      [8 inputs][16][4] bytes, value + 8, inputs 0-3 in the low nibbles
// Integers stand in pairs of groups, after the pair's scales [2][16] bfloat16: a tile is read from its start
// to its end. group_size: inputs that share a scale, a multiple of kGroupStep; 0 for floats. The groups of a
// head start afresh.
struct PackedMatrix {
  BlockShape shape;
  WeightFormat format;
  int64_t group_size;
  const void* data;
};

constexpr int64_t kGroupStep = 16;
constexpr int64_t kMaxGroupSize = 1024;

constexpr int64_t rounded_up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }

constexpr int64_t groups_per_row(const PackedMatrix& matrix) {
  return (matrix.shape.inputs + matrix.group_size - 1) / matrix.group_size;
}

// Without the scales.
constexpr int64_t tile_data_bytes(const PackedMatrix& matrix) {
  const int64_t inputs = matrix.shape.inputs;
  switch (matrix.format) {
    case WeightFormat::kFloat32:
      return inputs * kTileOutputs * 4;
    case WeightFormat::kBFloat16:
      return rounded_up(inputs, 2) * kTileOutputs * 2;
    case WeightFormat::kInt8:
      return rounded_up(inputs, kGroupStep) * kTileOutputs;
    default:
      return rounded_up(inputs, kGroupStep) * kTileOutputs / 2;
  }
}

constexpr int64_t kGroupScaleBytes = kTileOutputs * 2;
constexpr int64_t kPairScaleBytes = 2 * kGroupScaleBytes;

// Of a whole group, without its scales.
constexpr int64_t group_bytes(const PackedMatrix& matrix) {
  return matrix.group_size * kTileOutputs / (matrix.format == WeightFormat::kInt4 ? 2 : 1);
}

// Where in its tile the scales of a group and its integers stand.
constexpr int64_t scales_offset(const PackedMatrix& matrix, int64_t group) {
  return group / 2 * (kPairScaleBytes + 2 * group_bytes(matrix)) + group % 2 * kGroupScaleBytes;
}
constexpr int64_t group_offset(const PackedMatrix& matrix, int64_t group) {
  return (group / 2 + 1) * kPairScaleBytes + group * group_bytes(matrix);
}

// A multiple of 64.
constexpr int64_t tile_bytes(const PackedMatrix& matrix) {
  const int64_t pairs = is_quantized(matrix.format) ? (groups_per_row(matrix) + 1) / 2 : 0;
  return tile_data_bytes(matrix) + pairs * kPairScaleBytes;
}

constexpr int64_t num_tiles(const BlockShape& shape) {
  return shape.heads * shape.gates * tiles_per_block(shape);
}

constexpr int64_t packed_bytes(const PackedMatrix& matrix) {
  return num_tiles(matrix.shape) * tile_bytes(matrix);
}

// Between a weight and its packed form.
// Floats: plain has the strides below, in elements. Integers: plain rows are (head, gate, output), row_bytes
// apart, int4 with the even input in the low nibble; scales (rows, groups) bfloat16.
struct PackParams {
  PackedMatrix matrix;
  int64_t head_stride;
  int64_t gate_stride;
  int64_t input_stride;
  int64_t output_stride;
  int64_t row_bytes;
  void* plain;
  void* scales;
  void* packed;
};

// x (rows, heads * inputs); out (rows, gates, heads * outputs); bias (gates, heads * outputs) or null.
struct LinearParams {
  PackedMatrix weight;
  int64_t rows;
  const float* x;
  const float* bias;
  float* out;
};

// weight: one block, an output for each token of the vocabulary; out (rows, inputs) contiguous.
struct EmbeddingParams {
  PackedMatrix weight;
  int64_t rows;
  const int64_t* tokens;
  float* out;
};

// x and out (rows, width) contiguous.
struct RmsNormParams {
  int64_t rows;
  int64_t width;
  const float* x;
  const float* weight;
  float eps;
  float* out;
};

// y and out (rows, width) contiguous; gate rows gate_stride apart.
struct GatedRmsNormParams {
  int64_t rows;
  int64_t width;
  const float* y;
  const float* gate;
  int64_t gate_stride;
  const float* weight;
  float eps;
  GateOrder order;
  float* out;
};

// out (rows, width) contiguous.
struct SiluMulParams {
  int64_t rows;
  int64_t width;
  const float* gate;
  int64_t gate_stride;
  const float* up;
  int64_t up_stride;
  float* out;
};

// out = scale[0] * x + y, all contiguous; scale null: 1.
struct AddScaledParams {
  int64_t size;
  const float* x;
  const float* scale;
  const float* y;
  float* out;
};

// v (T, D), rows v_stride apart; tap k of channel i at i * channel_stride + k * tap_stride of weight, the
// newest row meets the last; bias (D) or null; out (T, D) contiguous. conv_state of slot i, row k (oldest
// first) at i * slot_stride + k * row_stride.
struct CausalConvParams {
  Sequences sequences;
  int64_t channels;
  int64_t width;
  const float* v;
  int64_t v_stride;
  const float* weight;
  int64_t channel_stride;
  int64_t tap_stride;
  const float* bias;
  Activation activation;
  DType state_dtype;
  void* conv_state;
  int64_t slot_stride;
  int64_t row_stride;
  float* out;
};

// out[i] = sum over r of in[r * stride + i] for i < size, in the order of r.
struct SumRowsParams {
  int64_t rows;
  int64_t size;
  int64_t stride;
  const float* in;
  float* out;
};

// Reads whole lines of `parts` equal parts of data, each `passes` times; seen (parts) depends on what was
// read.
struct ReadBytesParams {
  int64_t size;
  int64_t parts;
  int64_t passes;
  const uint8_t* data;
  uint32_t* seen;
};

enum class MultiplyUnit { kFloat32, kInt8 };

// `rounds` rounds of multiply-adds in registers, `parts` times; done (parts): how many each part did.
struct MultiplyAddParams {
  MultiplyUnit unit;
  int64_t parts;
  int64_t rounds;
  int64_t* done;
};

// How the rows of one slot are sampled. top_k 0: off.
struct SampleNumbers {
  double temperature;
  double top_p;
  double min_p;
  double repetition_penalty;
  double presence_penalty;
  double frequency_penalty;
};
struct SampleCounters {
  int64_t top_k;
  int64_t seed;
  int64_t choice;
  int64_t output_index;
};

// tokens[i] is drawn from row logits_rows[i] of logits (*, vocab) with the options of slots[i], none twice:
// -1 if the row has NaN, +inf or nothing but -inf, and then nothing else changes; else output_index grows by
// one, and counts[slot, token] too where a penalty needs it. numbers, counters (slots); seen (slots,
// seen_stride) bitmaps; counts (slots, vocab); the biases of slot s are bias_bounds[s] .. bias_bounds[s + 1].
// seen and counts may be null where no option needs them.
struct SampleParams {
  int64_t rows;
  int64_t vocab;
  const float* logits;
  const int64_t* logits_rows;
  const int32_t* slots;
  const SampleNumbers* numbers;
  SampleCounters* counters;
  const uint8_t* seen;
  int64_t seen_stride;
  int32_t* counts;
  const int64_t* bias_bounds;
  const int32_t* bias_ids;
  const double* biases;
  int64_t* tokens;
};

// Of targets[i] in row logits_rows[i] of logits (*, vocab), with the top_counts[i] likeliest ids, the
// likeliest first, in row i of top_ids and top_logprobs (rows, top_stride). finite[i] false: nothing else is
// written.
struct TokenLogprobsParams {
  int64_t rows;
  int64_t vocab;
  const float* logits;
  const int64_t* logits_rows;
  const int64_t* targets;
  const int64_t* top_counts;
  int64_t top_stride;
  bool* finite;
  double* logprobs;
  int64_t* top_ids;
  double* top_logprobs;
};

}  // namespace pararnn
