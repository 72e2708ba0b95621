// Products of few rows: every weight is read once and goes through tensor cores from where it was read.
//
// Weights are the left operand, 16 rows of them a tile, so that one to eight rows of x, a tile of columns,
// cost the same. The warps of a block take turns at slices of the inputs (product_slice.cuh) and add their
// sums up at the end. Slices, their turns and the order of that sum depend on the weights alone: a row of x
// has the same bits in every batch.
#pragma once

#include <type_traits>

#include "cuda/products/product_slice.cuh"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kProductWarps = 8;
constexpr int kProductThreads = kProductWarps * kWarp;

// Beyond one tile of columns reading x takes the time: more weights share what is read.
template <int kColumnTiles>
constexpr int kRowTiles = kColumnTiles == 1 ? 1 : 2;
template <int kColumnTiles>
constexpr int kBlockRows = kRowTiles<kColumnTiles> * kMmaRows;

// Slices under way while one is multiplied: what registers have room for.
template <class Format, int kColumnTiles>
constexpr int kSlicesAhead = kColumnTiles > 4                           ? 1
                             : kColumnTiles > 1 || Format::kValues == 8 ? 2
                                                                        : 4;

template <int kColumnTiles>
PARARNN_HD int64_t blocks_per_head(const BlockShape& shape) {
  return (shape.gates * shape.outputs + kBlockRows<kColumnTiles> - 1) / kBlockRows<kColumnTiles>;
}

template <int kColumnTiles>
PARARNN_HD int64_t row_product_blocks(const BlockShape& shape) {
  return shape.heads * blocks_per_head<kColumnTiles>(shape);
}

// sums += weights * x of a slice, for one tile of rows and one of columns.
template <class Format, bool kShared, int kEights>
PARARNN_DEVICE void multiply_slice(const WidenedSlice<Format, kShared, kEights>& weights, int tile,
                                   const InputSlice<Format>& x, float (&sums)[4]) {
  constexpr int kScales = WidenedSlice<Format, kShared, kEights>::kScales;
  constexpr int kPairs = kSlicePairs<Format> / kScales;
  const auto& upper = weights.pairs[2 * tile];
  const auto& lower = weights.pairs[2 * tile + 1];
  PARARNN_UNROLL
  for (int j = 0; j < kScales; ++j) {
    float part[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    PARARNN_UNROLL
    for (int i = j * kPairs; i < (j + 1) * kPairs; i += 2)
      mma(part, {upper[i], lower[i], upper[i + 1], lower[i + 1]}, {x.pairs[i], x.pairs[i + 1]});
    PARARNN_UNROLL
    for (int i = 0; i < 4; ++i) {
      if constexpr (Format::kHasScales) {
        sums[i] = fmaf(weights.scales[2 * tile + i / 2][j], part[i], sums[i]);
      } else {
        sums[i] += part[i];
      }
    }
  }
}

// Of one tile of columns. Padded, so that the lanes of a warp write to different banks.
template <int kRows>
struct ProductSums {
  float of[kProductWarps][kMmaColumns][kRows + 4];

  PARARNN_DEVICE void lay_down(const float (&sums)[kRows / kMmaRows][4]) {
    const int warp = thread_index() / kWarp, group = thread_index() % kWarp / 4, place = thread_index() % 4;
    PARARNN_UNROLL
    for (int tile = 0; tile < kRows / kMmaRows; ++tile) {
      PARARNN_UNROLL
      for (int i = 0; i < 4; ++i)
        of[warp][2 * place + i % 2][tile * kMmaRows + i / 2 * kEight + group] = sums[tile][i];
    }
  }

  PARARNN_DEVICE float total(int column, int row) const {
    float sum = of[0][column][row];
    PARARNN_UNROLL
    for (int warp = 1; warp < kProductWarps; ++warp) sum += of[warp][column][row];
    return sum;
  }
};

PARARNN_DEVICE void store_product(const RowProductParams& p, int64_t head, int row, int64_t column,
                                  float value) {
  const BlockShape& shape = p.weight.shape;
  const int outputs = int(shape.outputs);
  const int64_t at =
      (column * shape.gates + row / outputs) * shape.heads * outputs + head * outputs + row % outputs;
  if (p.out_dtype == DType::kFloat32) {
    static_cast<float*>(p.out)[at] = value;
  } else {
    static_cast<BFloat16*>(p.out)[at] = narrow(value);
  }
}

// Adds up what the warps have, a tile of columns after the other.
template <int kColumnTiles, int kTiles>
PARARNN_DEVICE void store_sums(const RowProductParams& p, int64_t head, int first_row,
                               const float (&sums)[kColumnTiles][kTiles][4]) {
  constexpr int kRows = kTiles * kMmaRows;
  PARARNN_SHARED(ProductSums<kRows>, shared);
  const int rows = int(p.weight.shape.gates * p.weight.shape.outputs);
  PARARNN_UNROLL
  for (int tile = 0; tile < kColumnTiles; ++tile) {
    if (tile > 0) sync_block();
    shared.lay_down(sums[tile]);
    sync_block();
    for (int i = thread_index(); i < kMmaColumns * kRows; i += kProductThreads) {
      const int row = first_row + i % kRows, column = tile * kMmaColumns + i / kRows;
      if (row < rows && column < p.rows)
        store_product(p, head, row, column, shared.total(i / kRows, i % kRows));
    }
  }
}

template <class Format, bool kShared, int kColumnTiles>
PARARNN_DEVICE void row_product_block(const RowProductParams& p) {
  constexpr int kTiles = kRowTiles<kColumnTiles>, kRows = kBlockRows<kColumnTiles>;
  constexpr int kAhead = kSlicesAhead<Format, kColumnTiles>;
  constexpr int kTurn = kProductWarps * kSliceInputs<Format>;
  const int inputs = int(p.weight.shape.inputs);
  const int64_t head = block_index() / blocks_per_head<kColumnTiles>(p.weight.shape);
  const int first_row = int(block_index() % blocks_per_head<kColumnTiles>(p.weight.shape)) * kRows;
  const WeightReader<Format, kShared, 2 * kTiles> weight_reader(p.weight, head, first_row);
  const InputReader<Format, kShared> input_reader(p, head);

  const int first = thread_index() / kWarp * kSliceInputs<Format>;
  WeightSlice<2 * kTiles> ahead[kAhead];
  PARARNN_UNROLL
  for (int i = 0; i < kAhead; ++i) weight_reader.load(ahead[i], first + i * kTurn);
  InputSlice<Format> next;  // a slice ahead too, where that is one tile
  if constexpr (kColumnTiles == 1) input_reader.load(next, 0, first);
  float sums[kColumnTiles][kTiles][4] = {};
  for (int turns = first; turns < inputs; turns += kAhead * kTurn) {
    PARARNN_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int begin = turns + i * kTurn;
      if (begin >= inputs) break;
      const WidenedSlice<Format, kShared, 2 * kTiles> weights(ahead[i]);
      weight_reader.load(ahead[i], begin + kAhead * kTurn);
      PARARNN_UNROLL
      for (int tile = 0; tile < kColumnTiles; ++tile) {
        if constexpr (kColumnTiles > 1) input_reader.load(next, tile, begin);
        const InputSlice<Format> matched = next.matched();
        if constexpr (kColumnTiles == 1) input_reader.load(next, 0, begin + kTurn);
        PARARNN_UNROLL
        for (int j = 0; j < kTiles; ++j) multiply_slice(weights, j, matched, sums[tile][j]);
      }
    }
  }
  store_sums(p, head, first_row, sums);
}

// Calls run(format, shared, tiles), values whose types say which kernel p takes.
template <class Run>
void for_row_product(const RowProductParams& p, const Run& run) {
  const auto with_sharing = [&](auto format, auto shared) {
    if (p.rows <= 8) return run(format, shared, std::integral_constant<int, 1>());
    if (p.rows <= 16) return run(format, shared, std::integral_constant<int, 2>());
    if (p.rows <= 32) return run(format, shared, std::integral_constant<int, 4>());
    return run(format, shared, std::integral_constant<int, 8>());
  };
  const auto with_format = [&](auto format) {
    if (p.weight.group_size % kSliceInputs<decltype(format)> == 0)
      return with_sharing(format, std::false_type());
    return with_sharing(format, std::true_type());
  };
  if (p.weight.format == WeightFormat::kInt8) return with_format(Int8Words());
  if (p.weight.format == WeightFormat::kInt4) return with_format(Int4Words());
  return with_sharing(BFloat16Words(), std::false_type());
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
