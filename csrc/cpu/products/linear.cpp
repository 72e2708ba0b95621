// Rows times packed weights. Rows are cut into blocks of equal height, copied as [block][input][row]; a work
// item is one group of tiles by one chunk of row blocks.
#include "cpu/products/linear_kernel.h"
#include "cpu/products/linear_quantized.h"
#include "cpu/threads/parallel.h"
#include "cpu/threads/scratch.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int64_t kPanelRows = 512;   // bounds the scratch memory
constexpr int64_t kChunkBlocks = 16;  // row blocks that share a widened weight
constexpr int64_t kDepth = 256;       // inputs of a weight slice that stays in the first-level cache

struct Panel {
  const LinearParams& p;
  int64_t first_row;
  int64_t rows;
  int64_t block_rows;
  const float* x;  // [block][heads * inputs][block_rows]

  int64_t blocks() const { return ceil_div(rows, block_rows); }
  int64_t width() const { return p.weight.shape.heads * p.weight.shape.inputs; }
};

// Rows past the end are 0, their results are not stored. In strips whose copy stays in the first-level cache.
template <int Rows>
void copy_block(const Panel& panel, int64_t block, float* to) {
  constexpr int64_t kStrip = 128;
  const int64_t width = panel.width(), first = block * Rows;
  for (int64_t begin = 0; begin < width; begin += kStrip) {
    const int64_t end = smaller(begin + kStrip, width);
    for (int64_t r = 0; r < Rows; ++r) {
      const bool valid = first + r < panel.rows;
      const float* const from = panel.p.x + (panel.first_row + first + r) * width;
      for (int64_t k = begin; k < end; ++k) to[k * Rows + r] = valid ? from[k] : 0.0f;
    }
  }
}

// [depth / 2][16][2] to [depth][16]; an odd depth is padded with zeros.
void widen(const BFloat16* from, float* to, int64_t depth) {
  for (int64_t k = 0; k < depth; k += 2, from += 2 * kTileOutputs, to += 2 * kTileOutputs) {
    for (int v = 0; v < kTileVectors; ++v) {
      Vec pair[2];
      load_inputs(from + v * kLanes * 2, pair);
      store(to + v * kLanes, pair[0]);
      store(to + kTileOutputs + v * kLanes, pair[1]);
    }
  }
}

// A group of `tiles` tiles of one head and gate.
struct Group {
  int64_t first_tile;
  int64_t x_column;
  int64_t out_column;
  int64_t tiles;
  int64_t outputs;

  Group(const BlockShape& shape, int64_t index, int64_t tiles_per_group) {
    const int64_t tiles_in_block = tiles_per_block(shape);
    const int64_t groups = ceil_div(tiles_in_block, tiles_per_group);
    const int64_t block = index / groups, first = index % groups * tiles_per_group;
    const int64_t head = block / shape.gates, gate = block % shape.gates;
    tiles = smaller(tiles_per_group, tiles_in_block - first);
    first_tile = block * tiles_in_block + first;
    x_column = head * shape.inputs;
    out_column = (gate * shape.heads + head) * shape.outputs + first * kTileOutputs;
    outputs = smaller(tiles * kTileOutputs, shape.outputs - first * kTileOutputs);
  }
};

// Whole groups run in one go, the last tiles of a head one by one.
template <int Rows, class Weight>
void multiply(TileArgs<Weight> args, int64_t tiles) {
  constexpr int kTiles = tiles_for(Rows);
  if (tiles == kTiles) return multiply_tiles<Rows, kTiles>(args);
  for (; tiles > 0; --tiles) {
    multiply_tiles<Rows, 1>(args);
    args.weight += args.tile_stride;
    args.out += kTileOutputs;
    args.bias = args.bias == nullptr ? nullptr : args.bias + kTileOutputs;
    args.valid_outputs -= kTileOutputs;
  }
}

// Inputs begin .. begin + depth for the row blocks of one chunk. `weight` is the slice of the group's tiles.
template <int Rows, class Weight>
void multiply_chunk(const Panel& panel, const Group& group, const Weight* weight, int64_t tile_stride,
                    int64_t chunk, int64_t begin, int64_t depth) {
  const int64_t row_stride =
      panel.p.weight.shape.gates * panel.p.weight.shape.heads * panel.p.weight.shape.outputs;
  const bool last = begin + depth == panel.p.weight.shape.inputs;
  const float* const bias = last && panel.p.bias != nullptr ? panel.p.bias + group.out_column : nullptr;
  const int64_t end = smaller((chunk + 1) * kChunkBlocks, panel.blocks());
  for (int64_t block = chunk * kChunkBlocks; block < end; ++block) {
    const int64_t row = block * Rows;
    multiply<Rows, Weight>(
        {panel.x + (block * panel.width() + group.x_column + begin) * Rows, weight, tile_stride, depth, bias,
         panel.p.out + (panel.first_row + row) * row_stride + group.out_column, row_stride,
         smaller(Rows, panel.rows - row), group.outputs, begin > 0},
        group.tiles);
  }
}

template <class Weight>
int64_t elements_per_tile(const PackedMatrix& weight) {
  return tile_bytes(weight) / int64_t(sizeof(Weight));
}

// Many row blocks: weights in slices that stay in the cache, bfloat16 ones widened once a slice.
template <int Rows, class Weight>
void multiply_slices(const Panel& panel, const Group& group, const Weight* weight, int64_t chunk) {
  const int64_t inputs = panel.p.weight.shape.inputs, tile_stride = elements_per_tile<Weight>(panel.p.weight);
  for (int64_t begin = 0; begin < inputs; begin += kDepth) {
    const int64_t depth = smaller(kDepth, inputs - begin);
    const Weight* const from = weight + begin * kTileOutputs;
    if constexpr (sizeof(Weight) == sizeof(float)) {
      multiply_chunk<Rows>(panel, group, from, tile_stride, chunk, begin, depth);
    } else {
      alignas(64) float slice[tiles_for(Rows) * kDepth * kTileOutputs];
      for (int64_t tile = 0; tile < group.tiles; ++tile) {
        widen(from + tile * tile_stride, slice + tile * kDepth * kTileOutputs, depth);
      }
      multiply_chunk<Rows, float>(panel, group, slice, kDepth * kTileOutputs, chunk, begin, depth);
    }
  }
}

template <int Rows, class Weight>
void run_panel(Panel panel) {
  constexpr int kTiles = tiles_for(Rows);
  if (panel.rows > 1) {
    const int64_t block_size = Rows * panel.width();
    float* const copy = scratch(panel.blocks() * block_size);
    parallel(panel.blocks(),
             [&](int64_t block) { copy_block<Rows>(panel, block, copy + block * block_size); });
    panel.x = copy;
  }
  const BlockShape& shape = panel.p.weight.shape;
  const int64_t groups = shape.heads * shape.gates * ceil_div(tiles_per_block(shape), kTiles);
  const int64_t chunks = ceil_div(panel.blocks(), kChunkBlocks);
  parallel(groups * chunks, [&](int64_t item) {
    const int64_t chunk = item % chunks;
    const Group group(shape, item / chunks, kTiles);
    const int64_t tile_stride = elements_per_tile<Weight>(panel.p.weight);
    const Weight* const weight =
        static_cast<const Weight*>(panel.p.weight.data) + group.first_tile * tile_stride;
    if (panel.blocks() > 2) return multiply_slices<Rows>(panel, group, weight, chunk);
    multiply_chunk<Rows>(panel, group, weight, tile_stride, chunk, 0, shape.inputs);
  });
}

template <class Weight, int Rows = kMaxRows>
void run_panel_of_height(const Panel& panel) {
  if (panel.block_rows == Rows) return run_panel<Rows, Weight>(panel);
  if constexpr (Rows > 1) run_panel_of_height<Weight, Rows - 1>(panel);
}

void run_rows(const LinearParams& p, int64_t first_row, int64_t rows) {
  const int64_t blocks = ceil_div(rows, kMaxRows);
  const Panel panel{p, first_row, rows, ceil_div(rows, blocks),
                    p.x + first_row * p.weight.shape.heads * p.weight.shape.inputs};
  p.weight.format == WeightFormat::kFloat32 ? run_panel_of_height<float>(panel)
                                            : run_panel_of_height<BFloat16>(panel);
}

}  // namespace

void linear(const LinearParams& p) {
  if (is_quantized(p.weight.format)) return linear_quantized(p);
  for (int64_t row = 0; row < p.rows; row += kPanelRows) run_rows(p, row, smaller(kPanelRows, p.rows - row));
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
