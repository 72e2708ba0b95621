// Between a plain weight and the tiles of this level; every move is exact. A work item is one tile.
#include <cstring>

#include "cpu/products/int_formats.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

struct Tile {
  int64_t head;
  int64_t gate;
  int64_t first;
  int64_t used;  // outputs that exist
  uint8_t* packed;

  Tile(const PackParams& p, int64_t item) {
    const BlockShape& shape = p.matrix.shape;
    const int64_t tiles = tiles_per_block(shape), block = item / tiles;
    head = block / shape.gates;
    gate = block % shape.gates;
    first = item % tiles * kTileOutputs;
    used = smaller(kTileOutputs, shape.outputs - first);
    packed = static_cast<uint8_t*>(p.packed) + item * tile_bytes(p.matrix);
  }

  // Of a quantised weight: the first of its rows.
  int64_t row(const BlockShape& shape) const { return (head * shape.gates + gate) * shape.outputs + first; }
};

// Float elements: kInputs neighbouring inputs of an output stand together.
template <class Element, int64_t kInputs>
struct FloatTile {
  const PackParams& p;
  const Tile tile;
  Element* const plain;
  Element* const packed;

  FloatTile(const PackParams& params, int64_t item)
      : p(params),
        tile(params, item),
        plain(static_cast<Element*>(params.plain) + tile.head * p.head_stride + tile.gate * p.gate_stride +
              tile.first * p.output_stride),
        packed(reinterpret_cast<Element*>(tile.packed)) {}

  Element& at(int64_t k, int64_t j) const {
    return packed[k / kInputs * kInputs * kTileOutputs + j * kInputs + k % kInputs];
  }

  void pack() const {
    for (int64_t k = 0; k < rounded_up(p.matrix.shape.inputs, kInputs); ++k) {
      for (int64_t j = 0; j < kTileOutputs; ++j) {
        const bool exists = j < tile.used && k < p.matrix.shape.inputs;
        at(k, j) = exists ? plain[k * p.input_stride + j * p.output_stride] : Element(0);
      }
    }
  }

  void unpack() const {
    for (int64_t j = 0; j < tile.used; ++j) {
      for (int64_t k = 0; k < p.matrix.shape.inputs; ++k)
        plain[k * p.input_stride + j * p.output_stride] = at(k, j);
    }
  }
};

// Four bytes of one output, in the order that the level multiplies them in. Its own inverse.
uint32_t in_level_order(uint32_t bytes, bool swaps_middle) {
  return swaps_middle ? (bytes & 0xff0000ffu) | (bytes & 0xff00u) << 8 | (bytes >> 8 & 0xff00u) : bytes;
}

// The four nibbles of a word as the low halves of four bytes, and back.
uint32_t spread(uint32_t nibbles) {
  const uint32_t pairs = (nibbles | nibbles << 8) & 0x00ff00ffu;
  return (pairs | pairs << 4) & 0x0f0f0f0fu;
}

uint32_t gather(uint32_t bytes) {
  const uint32_t pairs = (bytes | bytes >> 4) & 0x00ff00ffu;
  return (pairs | pairs >> 8) & 0xffffu;
}

// A word is four bytes of a plain row: 4 inputs of int8, 8 of int4.
struct Int8Words {
  static constexpr bool kSwaps = Int8Format::kSwapsMiddleBytes;
  static constexpr int64_t kInputs = 4;
  static constexpr uint32_t kZeros = 0;                                // plain zeros
  static constexpr uint32_t kFlips = Int8Format::kZero * 0x01010101u;  // of the sign bits, or none
  static uint32_t pack(uint32_t word) { return in_level_order(word ^ kFlips, kSwaps); }
  static uint32_t unpack(uint32_t word) { return in_level_order(word, kSwaps) ^ kFlips; }
};

struct Int4Words {
  static constexpr bool kSwaps = Int4Format::kSwapsMiddleBytes;
  static constexpr int64_t kInputs = 8;
  static constexpr uint32_t kZeros = 0x88888888u;
  static uint32_t pack(uint32_t word) {
    return in_level_order(spread(word & 0xffffu) | spread(word >> 16) << 4, kSwaps);
  }
  static uint32_t unpack(uint32_t word) {
    const uint32_t bytes = in_level_order(word, kSwaps);
    return gather(bytes & 0x0f0f0f0fu) | gather(bytes >> 4 & 0x0f0f0f0fu) << 16;
  }
};

// visit(word, its 16 places in the tile), from the first word of a row to the last.
template <class Words, class Visit>
void for_each_word(const PackedMatrix& matrix, uint8_t* packed, const Visit& visit) {
  const int64_t words = rounded_up(matrix.shape.inputs, kGroupStep) / Words::kInputs;
  const int64_t per_group = matrix.group_size / Words::kInputs;
  for (int64_t group = 0, word = 0; word < words; ++group) {
    uint8_t* place = packed + group_offset(matrix, group);
    for (const int64_t end = smaller(word + per_group, words); word < end;
         ++word, place += 4 * kTileOutputs) {
      visit(word, place);
    }
  }
}

template <class Words>
void pack_words(const PackParams& p, const Tile& tile) {
  const int64_t whole = tile.used == kTileOutputs ? p.row_bytes / 4 : 0;
  const uint8_t* const rows = static_cast<const uint8_t*>(p.plain) + tile.row(p.matrix.shape) * p.row_bytes;
  for_each_word<Words>(p.matrix, tile.packed, [&](int64_t word, uint8_t* place) {
    uint32_t bytes[kTileOutputs];
    if (word < whole) {
      for (int64_t j = 0; j < kTileOutputs; ++j) memcpy(bytes + j, rows + j * p.row_bytes + word * 4, 4);
    } else {
      const int64_t left = p.row_bytes - word * 4;
      for (int64_t j = 0; j < kTileOutputs; ++j) {
        bytes[j] = Words::kZeros;
        if (j < tile.used && left > 0) {
          memcpy(bytes + j, rows + j * p.row_bytes + word * 4, size_t(smaller(4, left)));
        }
      }
    }
    for (uint32_t& each : bytes) each = Words::pack(each);
    memcpy(place, bytes, sizeof(bytes));
  });
}

template <class Words>
void unpack_words(const PackParams& p, const Tile& tile) {
  uint8_t* const rows = static_cast<uint8_t*>(p.plain) + tile.row(p.matrix.shape) * p.row_bytes;
  for_each_word<Words>(p.matrix, tile.packed, [&](int64_t word, const uint8_t* place) {
    const int64_t left = p.row_bytes - word * 4;
    for (int64_t j = 0; j < tile.used && left > 0; ++j) {
      uint32_t bytes;
      memcpy(&bytes, place + j * 4, 4);
      bytes = Words::unpack(bytes);
      memcpy(rows + j * p.row_bytes + word * 4, &bytes, size_t(smaller(4, left)));
    }
  });
}

struct ScaleTile {
  const PackedMatrix& matrix;
  const Tile& tile;
  const int64_t groups;
  uint16_t* const plain;

  ScaleTile(const PackParams& p, const Tile& at)
      : matrix(p.matrix),
        tile(at),
        groups(groups_per_row(p.matrix)),
        plain(static_cast<uint16_t*>(p.scales) + at.row(p.matrix.shape) * groups) {}

  uint16_t* packed(int64_t group) const {
    return reinterpret_cast<uint16_t*>(tile.packed + scales_offset(matrix, group));
  }

  void pack() const {
    for (int64_t group = 0; group < rounded_up(groups, 2); ++group) {
      for (int64_t j = 0; j < kTileOutputs; ++j) {
        packed(group)[j] = j < tile.used && group < groups ? plain[j * groups + group] : uint16_t(0);
      }
    }
  }

  void unpack() const {
    for (int64_t j = 0; j < tile.used; ++j) {
      for (int64_t group = 0; group < groups; ++group) plain[j * groups + group] = packed(group)[j];
    }
  }
};

template <class Words>
void pack_integers(const PackParams& p, int64_t item) {
  const Tile tile(p, item);
  pack_words<Words>(p, tile);
  ScaleTile(p, tile).pack();
}

template <class Words>
void unpack_integers(const PackParams& p, int64_t item) {
  const Tile tile(p, item);
  unpack_words<Words>(p, tile);
  ScaleTile(p, tile).unpack();
}

}  // namespace

void pack_matrix(const PackParams& p) {
  parallel(num_tiles(p.matrix.shape), [&](int64_t item) {
    switch (p.matrix.format) {
      case WeightFormat::kFloat32:
        return FloatTile<uint32_t, 1>(p, item).pack();
      case WeightFormat::kBFloat16:
        return FloatTile<uint16_t, 2>(p, item).pack();
      case WeightFormat::kInt8:
        return pack_integers<Int8Words>(p, item);
      default:
        return pack_integers<Int4Words>(p, item);
    }
  });
}

void unpack_matrix(const PackParams& p) {
  parallel(num_tiles(p.matrix.shape), [&](int64_t item) {
    switch (p.matrix.format) {
      case WeightFormat::kFloat32:
        return FloatTile<uint32_t, 1>(p, item).unpack();
      case WeightFormat::kBFloat16:
        return FloatTile<uint16_t, 2>(p, item).unpack();
      case WeightFormat::kInt8:
        return unpack_integers<Int8Words>(p, item);
      default:
        return unpack_integers<Int4Words>(p, item);
    }
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
