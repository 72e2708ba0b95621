// Rows of a quantised matrix as floats, in one pass. A thread has 16 inputs, which share a scale.
#pragma once

#include <type_traits>

#include "cuda/products/mma.cuh"
#include "cuda/widen.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kDequantizeThreads = 256;
constexpr int kPiece = int(kGroupStep);

PARARNN_HD int64_t dequantize_pieces(const DequantizeParams& p) {
  return p.rows * (p.weight.shape.inputs / kPiece);
}

PARARNN_HD int64_t dequantize_blocks(const DequantizeParams& p) {
  return (dequantize_pieces(p) + kDequantizeThreads - 1) / kDequantizeThreads;
}

template <int kBits>
PARARNN_DEVICE float integer_at(uint32_t word, int i) {
  return float(kBits == 8 ? int(int8_t(word >> 8 * i)) : int(word >> 4 * i & 15) - 8);
}

PARARNN_DEVICE void store_piece(float* to, const float (&values)[kPiece]) {
  PARARNN_UNROLL
  for (int i = 0; i < kPiece; i += 4) {
    Words<4> words;
    memcpy(words.of, values + i, sizeof(words.of));
    store_words(reinterpret_cast<Words<4>*>(to + i), words);
  }
}

PARARNN_DEVICE void store_piece(BFloat16* to, const float (&values)[kPiece]) {
  PARARNN_UNROLL
  for (int i = 0; i < kPiece; i += 8) {
    Words<4> words;
    PARARNN_UNROLL
    for (int j = 0; j < 4; ++j) words.of[j] = narrow_pair(values[i + 2 * j], values[i + 2 * j + 1]);
    store_words(reinterpret_cast<Words<4>*>(to + i), words);
  }
}

template <int kBits, class Out>
PARARNN_DEVICE void dequantize_block(const DequantizeParams& p) {
  constexpr int kWords = kPiece * kBits / 32, kValues = 32 / kBits;
  const int64_t index = block_index() * kDequantizeThreads + thread_index();
  if (index >= dequantize_pieces(p)) return;
  const uint32_t pieces = uint32_t(p.weight.shape.inputs / kPiece);
  const uint32_t out_row = uint32_t(index) / pieces, piece = uint32_t(index) % pieces;
  const int64_t row = p.indices == nullptr ? int64_t(out_row) : p.indices[out_row];
  const uint32_t groups = uint32_t((p.weight.shape.inputs - 1) / p.weight.group_size + 1);
  const uint32_t group = piece / uint32_t(p.weight.group_size / kPiece);
  const float scale = widen(BFloat16{p.weight.scales[row * groups + group]});
  const Words<kWords> words =
      load_words(static_cast<const Words<kWords>*>(p.weight.rows) + row * pieces + piece);
  float values[kPiece];
  PARARNN_UNROLL
  for (int i = 0; i < kPiece; ++i) values[i] = integer_at<kBits>(words.of[i / kValues], i % kValues) * scale;
  store_piece(static_cast<Out*>(p.out) + index * kPiece, values);
}

// Calls run(bits, out), values of the types that p names.
template <class Run>
void for_dequantize(const DequantizeParams& p, const Run& run) {
  const auto with_bits = [&](auto bits) {
    p.out_dtype == DType::kFloat32 ? run(bits, 0.0f) : run(bits, BFloat16{});
  };
  if (p.weight.format == WeightFormat::kInt8) return with_bits(std::integral_constant<int, 8>());
  return with_bits(std::integral_constant<int, 4>());
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
