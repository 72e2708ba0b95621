// The inner product kernel: Rows rows by Tiles tiles of 16 outputs, one multiply-add per input and output in
// the order of the inputs. Lanes run over outputs, so neither Rows nor Tiles nor a pause in memory changes a
// result.
#pragma once

#include "cpu/simd/bfloat16.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kAccumulators = 24;  // of 32 registers
#else
constexpr int kAccumulators = 12;  // of 16
#endif

constexpr int kMaxRows = kAccumulators / kTileVectors < 8 ? kAccumulators / kTileVectors : 8;
constexpr int kMaxTiles = 4;  // streams of weights read at once

// As many tiles as the registers hold beside the rows.
constexpr int tiles_for(int rows) {
  const int fit = kAccumulators / (rows * kTileVectors);
  return fit < 1 ? 1 : fit > kMaxTiles ? kMaxTiles : fit;
}

// Inputs of one load of 16 outputs: bfloat16 ones come in pairs.
template <class Weight>
constexpr int kInputs = sizeof(Weight) == sizeof(float) ? 1 : 2;

PARARNN_HD void load_inputs(const float* from, Vec (&w)[1]) { w[0] = load(from); }

PARARNN_HD void load_inputs(const BFloat16* from, Vec (&w)[2]) {
  IntLanes pairs;
  memcpy(&pairs, from, sizeof(pairs));
  w[0] = from_bits(pairs << 16);
  w[1] = from_bits(pairs & ~0xffff);
}

// x [depth][Rows]; weight: tiles [depth][16] (bfloat16: [depth / 2][16][2]), tile_stride elements apart; out
// and its rows out_stride apart.
template <class Weight>
struct TileArgs {
  const float* x;
  const Weight* weight;
  int64_t tile_stride;
  int64_t depth;
  const float* bias;  // null: none
  float* out;
  int64_t out_stride;
  int64_t valid_rows;
  int64_t valid_outputs;
  bool resume;  // out holds the sums so far
};

template <int Rows, int Vectors>
using Sums = Vec[Rows][Vectors];

// Whole: every output of the tiles exists. Rows past the valid ones start from 0 and are dropped.
template <bool kWhole, int Rows, int Vectors, class Weight>
PARARNN_HD void start_sums(const TileArgs<Weight>& args, Sums<Rows, Vectors>& sums) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    const float* const from = args.out + r * args.out_stride;
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      const int at = v * kLanes;
      sums[r][v] = Vec(0.0f);
      if (!args.resume || r >= args.valid_rows) continue;
      sums[r][v] = kWhole ? load(from + at) : load(from + at, args.valid_outputs - at);
    }
  }
}

template <bool kWhole, int Rows, int Vectors, class Weight>
PARARNN_HD void finish_sums(const TileArgs<Weight>& args, const Sums<Rows, Vectors>& sums) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    if (r >= args.valid_rows) return;
    float* const to = args.out + r * args.out_stride;
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      const int at = v * kLanes;
      const int64_t left = kWhole ? kLanes : args.valid_outputs - at;
      const Vec sum = args.bias == nullptr ? sums[r][v] : sums[r][v] + load(args.bias + at, left);
      kWhole ? store(to + at, sum) : store(to + at, sum, left);
    }
  }
}

// The first kUsed of the inputs at `weight`.
template <int kUsed, int Rows, int Vectors, class Weight>
PARARNN_HD void add_products(const TileArgs<Weight>& args, const Weight* weight, const float* x,
                             Sums<Rows, Vectors>& sums) {
  Vec w[Vectors][kInputs<Weight>];
#pragma GCC unroll 16
  for (int v = 0; v < Vectors; ++v) {
    load_inputs(weight + v / kTileVectors * args.tile_stride + v % kTileVectors * kLanes * kInputs<Weight>,
                w[v]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < kUsed; ++i) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec factor(x[i * Rows + r]);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sums[r][v] = madd(factor, w[v][i], sums[r][v]);
    }
  }
}

template <bool kWhole, int Rows, int Tiles, class Weight>
PARARNN_HD void multiply_whole_or_part(const TileArgs<Weight>& args) {
  constexpr int kVectors = Tiles * kTileVectors;
  Sums<Rows, kVectors> sums;
  start_sums<kWhole, Rows, kVectors>(args, sums);
  const float* x = args.x;
  const Weight* weight = args.weight;
  int64_t k = 0;
  for (; k + kInputs<Weight> <= args.depth; k += kInputs<Weight>) {
    add_products<kInputs<Weight>, Rows, kVectors>(args, weight, x, sums);
    x += kInputs<Weight> * Rows;
    weight += kInputs<Weight> * kTileOutputs;
  }
  if (k < args.depth) add_products<1, Rows, kVectors>(args, weight, x, sums);
  finish_sums<kWhole, Rows, kVectors>(args, sums);
}

template <int Rows, int Tiles, class Weight>
void multiply_tiles(const TileArgs<Weight>& args) {
  const bool whole = args.valid_outputs >= Tiles * kTileOutputs;
  whole ? multiply_whole_or_part<true, Rows, Tiles>(args) : multiply_whole_or_part<false, Rows, Tiles>(args);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
