// Rows times int8 or int4 weights. The rows are quantised first; a work item is then one tile of outputs by
// one chunk of rows, a group's sum exact and the sum over groups in their order: no shape of the work changes
// a result.
#include "cpu/products/linear_quantized.h"

#include "cpu/products/activations.h"
#include "cpu/products/int_formats.h"
#include "cpu/simd/bfloat16.h"
#include "cpu/threads/parallel.h"
#include "cpu/threads/scratch.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int64_t kPanelRows = 512;                   // bounds the scratch memory
constexpr int64_t kChunkRows = 64;                    // rows whose activations stay in the second-level cache
constexpr int kAccumulators = kLanes == 16 ? 16 : 8;  // half of the registers
constexpr int kMaxRows = kAccumulators / kTileVectors < 8 ? kAccumulators / kTileVectors : 8;
constexpr int kMaxTiles =
    4;  // streams of weights read at once: one alone leaves half of the bandwidth unused

// As many tiles as the registers hold beside the rows.
constexpr int tiles_for(int rows) {
  const int fit = kAccumulators / (rows * kTileVectors);
  return fit < 1 ? 1 : fit > kMaxTiles ? kMaxTiles : fit;
}

template <class Format>
struct Panel {
  const LinearParams& p;
  int64_t first_row;
  int64_t rows;
  Activations<typename Format::Activation> x;
};

// Tiles of one head and gate that are read side by side, each stream far from the next: it then runs on
// through memory from item to item. The tiles that are left over stand alone.
struct TileGroup {
  int64_t head;
  int64_t tiles;
  int64_t apart;  // tiles from one to the next
  int64_t out_column;
  int64_t outputs;  // from the first tile to the end of the block
  const uint8_t* data;

  static int64_t per_block(const BlockShape& shape, int64_t side_by_side) {
    const int64_t tiles = tiles_per_block(shape);
    return tiles / side_by_side + tiles % side_by_side;
  }

  TileGroup(const PackedMatrix& weight, int64_t index, int64_t side_by_side) {
    const BlockShape& shape = weight.shape;
    const int64_t tiles_in_block = tiles_per_block(shape), per = per_block(shape, side_by_side);
    const int64_t block = index / per, gate = block % shape.gates;
    apart = tiles_in_block / side_by_side;
    const int64_t place = index % per;
    const int64_t first = place < apart ? place : place - apart + apart * side_by_side;
    tiles = place < apart ? side_by_side : 1;
    head = block / shape.gates;
    out_column = (gate * shape.heads + head) * shape.outputs + first * kTileOutputs;
    outputs = shape.outputs - first * kTileOutputs;
    data = static_cast<const uint8_t*>(weight.data) + (block * tiles_in_block + first) * tile_bytes(weight);
  }

  TileGroup tile(const PackedMatrix& weight, int64_t index) const {
    TileGroup one = *this;
    one.tiles = 1;
    one.out_column += index * apart * kTileOutputs;
    one.outputs -= index * apart * kTileOutputs;
    one.data += index * apart * tile_bytes(weight);
    return one;
  }
};

template <class Format, int Rows, int Tiles>
void multiply_tiles(const Panel<Format>& panel, const TileGroup& tile, int64_t first_row) {
  constexpr int kVectors = Tiles * kTileVectors;
  const PackedMatrix& weight = panel.p.weight;
  const BlockShape& shape = weight.shape;
  const int64_t first = first_row * shape.heads + tile.head, groups = panel.x.groups;
  const int64_t stride = shape.heads * panel.x.padded_inputs, tile_stride = tile.apart * tile_bytes(weight);
  const auto* x = panel.x.values + first * panel.x.padded_inputs;
  const int64_t starts_per_row = groups * panel.x.starts_per_group;
  const int64_t starts_stride = shape.heads * starts_per_row;
  const int32_t* starts = panel.x.starts + first * starts_per_row;
  const uint8_t* data = tile.data;
  Vec sums[Rows][kVectors];
  for (auto& row : sums) {
    for (Vec& sum : row) sum = Vec(0.0f);
  }
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t units =
        smaller(weight.group_size, panel.x.padded_inputs - group * weight.group_size) / kUnit;
    IntSums<Rows, Tiles> products;
    const uint8_t* const scales = data + group % 2 * kGroupScaleBytes;
    const uint8_t* const integers = data + kPairScaleBytes + group % 2 * group_bytes(weight);
    Format::template add<Rows, Tiles>(products, integers, tile_stride, x, stride, units, starts,
                                      starts_stride);
    starts += panel.x.starts_per_group;
    data += group % 2 * (kPairScaleBytes + 2 * group_bytes(weight));
    x += units * kUnit;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const Vec scale = load(reinterpret_cast<const BFloat16*>(scales + v / kTileVectors * tile_stride) +
                             v % kTileVectors * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Vec x_scale(panel.x.scales[(first + r * shape.heads) * groups + group]);
        sums[r][v] = madd(to_float(products[r][v]), scale * x_scale, sums[r][v]);
      }
    }
  }
  const int64_t row_stride = shape.gates * shape.heads * shape.outputs;
  float* out = panel.p.out + (panel.first_row + first_row) * row_stride + tile.out_column;
  const float* const bias = panel.p.bias == nullptr ? nullptr : panel.p.bias + tile.out_column;
  for (int r = 0; r < Rows; ++r, out += row_stride) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = v / kTileVectors * tile.apart * kTileOutputs + v % kTileVectors * kLanes;
      const int64_t left = tile.outputs - at;
      const Vec sum = bias == nullptr ? sums[r][v] : sums[r][v] + load(bias + at, left);
      store(out + at, sum, left);
    }
  }
}

// A group that is no wider than the rows allow runs in one go, else tile by tile.
template <class Format, int Rows>
void multiply_rows(const Panel<Format>& panel, const TileGroup& group, int64_t row) {
  if (group.tiles == tiles_for(Rows)) return multiply_tiles<Format, Rows, tiles_for(Rows)>(panel, group, row);
  for (int64_t i = 0; i < group.tiles; ++i) {
    multiply_tiles<Format, Rows, 1>(panel, group.tile(panel.p.weight, i), row);
  }
}

template <class Format, int Rows>
void multiply_last_rows(const Panel<Format>& panel, const TileGroup& group, int64_t first_row, int64_t rows) {
  if (rows == Rows) return multiply_rows<Format, Rows>(panel, group, first_row);
  if constexpr (Rows > 1) multiply_last_rows<Format, Rows - 1>(panel, group, first_row, rows);
}

template <class Format>
void multiply_chunk(const Panel<Format>& panel, const TileGroup& group, int64_t begin, int64_t end) {
  int64_t row = begin;
  for (; row + kMaxRows <= end; row += kMaxRows) multiply_rows<Format, kMaxRows>(panel, group, row);
  multiply_last_rows<Format, kMaxRows>(panel, group, row, end - row);
}

constexpr int64_t floats_for(int64_t bytes) { return rounded_up(bytes, 64) / int64_t(sizeof(float)); }

template <class Format>
Activations<typename Format::Activation> make_room(const PackedMatrix& weight, int64_t rows) {
  using Integer = typename Format::Activation;
  const int64_t padded = rounded_up(weight.shape.inputs, kGroupStep), groups = groups_per_row(weight);
  const int64_t starts = ceil_div(weight.group_size, smaller(weight.group_size, Format::kStartUnits * kUnit));
  const int64_t parts = rows * weight.shape.heads;
  const int64_t values = floats_for(parts * padded * int64_t(sizeof(Integer))),
                scales = floats_for(parts * groups * 4);
  float* const room = scratch(values + scales + floats_for(parts * groups * starts * 4));
  return {padded,        groups,
          starts,        reinterpret_cast<Integer*>(room),
          room + values, reinterpret_cast<int32_t*>(room + values + scales)};
}

template <class Format>
void run_panel(const LinearParams& p, int64_t first_row, int64_t rows) {
  const BlockShape& shape = p.weight.shape;
  const Panel<Format> panel{p, first_row, rows, make_room<Format>(p.weight, rows)};
  const float* const x = p.x + first_row * shape.heads * shape.inputs;
  parallel_lots(rows * shape.heads, shape.inputs, [&](int64_t index) {
    quantize_row<Format>(x + index * shape.inputs, shape.inputs, p.weight.group_size, index, panel.x);
  });
  // Tiles as the smallest block of rows takes them.
  const int64_t tiles = tiles_for(int(smaller(rows, kMaxRows)));
  const int64_t groups = shape.heads * shape.gates * TileGroup::per_block(shape, tiles);
  const auto multiply = [&](int64_t item) {
    const int64_t begin = item / groups * kChunkRows;
    multiply_chunk<Format>(panel, TileGroup(p.weight, item % groups, tiles), begin,
                           smaller(begin + kChunkRows, rows));
  };
  const int64_t items = groups * ceil_div(rows, kChunkRows);
  rows <= kMaxRows ? parallel_runs(items, multiply) : parallel(items, multiply);
}

template <class Format>
void run(const LinearParams& p) {
  for (int64_t row = 0; row < p.rows; row += kPanelRows)
    run_panel<Format>(p, row, smaller(kPanelRows, p.rows - row));
}

}  // namespace

void linear_quantized(const LinearParams& p) {
  p.weight.format == WeightFormat::kInt8 ? run<Int8Format>(p) : run<Int4Format>(p);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
