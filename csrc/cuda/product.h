// Products of a GPU with weights as a checkpoint holds them: what they are told, on the host, and how they
// are started.
#pragma once

#include "../params.h"

namespace pararnn {

// (heads * gates * outputs, inputs) row-major, the rows head by head: rows of bfloat16, of int8, or of
// nibbles (value + 8, the even input in the low one). All pointers to memory of the GPU. Rows, of weights and
// of activations, begin at multiples of 16 bytes.
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

// stream: a cudaStream_t of the device that is current.
void row_product_cuda(const RowProductParams& params, void* stream);
void dequantize_cuda(const DequantizeParams& params, void* stream);

}  // namespace pararnn
