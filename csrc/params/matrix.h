// Matrices of weights, packed for a CPU or as a checkpoint holds them for a GPU, and products with them.
#pragma once

#include "params/sequences.h"

namespace pararnn {

constexpr int64_t kTileOutputs = 16;

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

// (heads * gates * outputs, inputs) row-major, the rows head by head: rows of bfloat16, of int8, or of
// nibbles (value + 8, the even input in the low one). All pointers are to memory of a GPU. Rows, of weights
// and of activations, begin at multiples of 16 bytes.
struct PlainMatrix {
  BlockShape shape;
  WeightFormat format;
  int64_t group_size;  // inputs that share a scale; 0 for floats
  const void* rows;
  const uint16_t* scales;  // bfloat16 (rows, groups); null for floats
};

constexpr int64_t kMostProductRows = 64;
constexpr int64_t kProductInputStep = 32;  // of which the inputs are a multiple
constexpr int64_t kMostProductInputs = int64_t(1) << 24;
constexpr int64_t kMostDequantized = int64_t(1) << 31;  // weights in one call

// What the kernel has the order of inputs for: a scale is for whole parts of a tensor core's product.
constexpr bool row_product_takes(WeightFormat format, int64_t group_size) {
  return format == WeightFormat::kBFloat16 || format == WeightFormat::kInt8 ||
         (format == WeightFormat::kInt4 && group_size % 32 == 0);
}

// x (rows, heads * inputs) bfloat16; out (rows, gates, heads * outputs).
struct RowProductParams {
  PlainMatrix weight;
  int64_t rows;  // at most kMostProductRows
  const void* x;
  DType out_dtype;
  void* out;
};

// out (rows, inputs): value * scale, rounded once to its type. indices: which row of the matrix each is, none
// outside of it; null: the first `rows`. The matrix has one head and one gate.
struct DequantizeParams {
  PlainMatrix weight;
  int64_t rows;
  const int64_t* indices;
  DType out_dtype;
  void* out;
};

}  // namespace pararnn
