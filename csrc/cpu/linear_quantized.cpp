// Rows times int8 or int4 weights. The rows are quantised first; a work item is then one tile of outputs by
// one chunk of rows, a group's sum exact and the sum over groups in their order: no shape of the work changes
// a result.
#include "linear_quantized.h"

#include "activations.h"
#include "bfloat16.h"
#include "int_formats.h"
#include "parallel.h"
#include "scratch.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int64_t kPanelRows = 512;  // bounds the scratch memory
constexpr int64_t kChunkRows = 64;   // rows whose activations stay in the second-level cache
constexpr int kMaxRows = kLanes / 2;

template <class Format>
struct Panel {
  const LinearParams& p;
  int64_t first_row;
  int64_t rows;
  Activations<typename Format::Activation> x;
};

// One tile of one head and gate.
struct TilePlace {
  int64_t head;
  int64_t out_column;
  int64_t outputs;
  const uint8_t* data;
  const BFloat16* scales;

  TilePlace(const PackedMatrix& weight, int64_t index) {
    const BlockShape& shape = weight.shape;
    const int64_t tiles = tiles_per_block(shape), block = index / tiles, first = index % tiles * kTileOutputs;
    const int64_t gate = block % shape.gates;
    head = block / shape.gates;
    out_column = (gate * shape.heads + head) * shape.outputs + first;
    outputs = smaller(kTileOutputs, shape.outputs - first);
    data = static_cast<const uint8_t*>(weight.data) + index * tile_bytes(weight);
    scales = reinterpret_cast<const BFloat16*>(data + tile_data_bytes(weight));
  }
};

template <class Format, int Rows>
void multiply_rows(const Panel<Format>& panel, const TilePlace& tile, int64_t first_row) {
  const PackedMatrix& weight = panel.p.weight;
  const BlockShape& shape = weight.shape;
  const int64_t first = first_row * shape.heads + tile.head, groups = panel.x.groups;
  const int64_t stride = shape.heads * panel.x.padded_inputs;
  const auto* x = panel.x.values + first * panel.x.padded_inputs;
  const uint8_t* data = tile.data;
  Vec sums[Rows][kTileVectors];
  for (auto& row : sums) {
    for (Vec& sum : row) sum = Vec(0.0f);
  }
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t units =
        smaller(weight.group_size, panel.x.padded_inputs - group * weight.group_size) / kUnit;
    IntSums<Rows> products;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const IntLanes start = broadcast(panel.x.starts[(first + r * shape.heads) * groups + group]);
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) products[r][v] = start;
    }
    Format::template add<Rows>(products, data, x, stride, units);
    data += units * Format::kUnitBytes;
    x += units * kUnit;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vec x_scale(panel.x.scales[(first + r * shape.heads) * groups + group]);
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const Vec scale = load(tile.scales + group * kTileOutputs + v * kLanes) * x_scale;
        sums[r][v] = madd(to_float(products[r][v]), scale, sums[r][v]);
      }
    }
  }
  const int64_t row_stride = shape.gates * shape.heads * shape.outputs;
  float* out = panel.p.out + (panel.first_row + first_row) * row_stride + tile.out_column;
  const float* const bias = panel.p.bias == nullptr ? nullptr : panel.p.bias + tile.out_column;
  for (int r = 0; r < Rows; ++r, out += row_stride) {
    for (int v = 0; v < kTileVectors; ++v) {
      const int64_t at = v * kLanes, left = tile.outputs - at;
      const Vec sum = bias == nullptr ? sums[r][v] : sums[r][v] + load(bias + at, left);
      store(out + at, sum, left);
    }
  }
}

template <class Format, int Rows>
void multiply_last_rows(const Panel<Format>& panel, const TilePlace& tile, int64_t first_row, int64_t rows) {
  if (rows == Rows) return multiply_rows<Format, Rows>(panel, tile, first_row);
  if constexpr (Rows > 1) multiply_last_rows<Format, Rows - 1>(panel, tile, first_row, rows);
}

template <class Format>
void multiply_chunk(const Panel<Format>& panel, const TilePlace& tile, int64_t begin, int64_t end) {
  int64_t row = begin;
  for (; row + kMaxRows <= end; row += kMaxRows) multiply_rows<Format, kMaxRows>(panel, tile, row);
  multiply_last_rows<Format, kMaxRows>(panel, tile, row, end - row);
}

constexpr int64_t floats_for(int64_t bytes) { return rounded_up(bytes, 64) / int64_t(sizeof(float)); }

template <class Format>
Activations<typename Format::Activation> make_room(const PackedMatrix& weight, int64_t rows) {
  using Integer = typename Format::Activation;
  const int64_t padded = rounded_up(weight.shape.inputs, kGroupStep), groups = groups_per_row(weight);
  const int64_t parts = rows * weight.shape.heads;
  const int64_t values = floats_for(parts * padded * int64_t(sizeof(Integer))),
                scales = floats_for(parts * groups * 4);
  float* const room = scratch(values + 2 * scales);
  return {padded, groups, reinterpret_cast<Integer*>(room), room + values,
          reinterpret_cast<int32_t*>(room + values + scales)};
}

template <class Format>
void run_panel(const LinearParams& p, int64_t first_row, int64_t rows) {
  const BlockShape& shape = p.weight.shape;
  const Panel<Format> panel{p, first_row, rows, make_room<Format>(p.weight, rows)};
  const float* const x = p.x + first_row * shape.heads * shape.inputs;
  parallel_lots(rows * shape.heads, shape.inputs, [&](int64_t index) {
    quantize_row(x + index * shape.inputs, shape.inputs, p.weight.group_size, Format::kZero, index, panel.x);
  });
  const int64_t tiles = num_tiles(shape);
  parallel(tiles * ceil_div(rows, kChunkRows), [&](int64_t item) {
    const int64_t begin = item / tiles * kChunkRows;
    multiply_chunk<Format>(panel, TilePlace(p.weight, item % tiles), begin,
                           smaller(begin + kChunkRows, rows));
  });
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
