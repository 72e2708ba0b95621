#include <sys/mman.h>

#include <cstdint>

#include "../kernels.h"
#include "thread_pool.h"

namespace pararnn {
namespace {

// Decoding reads every weight once per token; with 4 KiB pages much of that time goes to address translation.
void ask_for_huge_pages(void* data, int64_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin = (uintptr_t(data) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (uintptr_t(data) + uintptr_t(bytes)) & ~(kPage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: may fail
}

// The place of one tile in both layouts.
template <class Element>
struct Tile {
  Element* plain;
  Element* packed;
  int64_t used;  // outputs that exist

  Tile(const PackParams& p, int64_t item) {
    const int64_t tiles = tiles_per_block(p.shape);
    const int64_t block = item / tiles, first = item % tiles * kTileOutputs;
    plain = static_cast<Element*>(p.plain) + block / p.shape.gates * p.head_stride +
            block % p.shape.gates * p.gate_stride + first * p.output_stride;
    packed = static_cast<Element*>(p.packed) + item * p.shape.inputs * kTileOutputs;
    used = p.shape.outputs - first < kTileOutputs ? p.shape.outputs - first : kTileOutputs;
  }
};

template <class Element>
void pack_tile(const PackParams& p, int64_t item) {
  const Tile<Element> tile(p, item);
  for (int64_t k = 0; k < p.shape.inputs; ++k) {
    for (int64_t j = 0; j < kTileOutputs; ++j) {
      tile.packed[k * kTileOutputs + j] =
          j < tile.used ? tile.plain[k * p.input_stride + j * p.output_stride] : Element(0);
    }
  }
}

template <class Element>
void unpack_tile(const PackParams& p, int64_t item) {
  const Tile<Element> tile(p, item);
  for (int64_t j = 0; j < tile.used; ++j) {
    for (int64_t k = 0; k < p.shape.inputs; ++k) {
      tile.plain[k * p.input_stride + j * p.output_stride] = tile.packed[k * kTileOutputs + j];
    }
  }
}

using TileMover = void (*)(const PackParams&, int64_t);

template <TileMover kMove>
void move_tiles(const PackParams& params) {
  const int64_t tiles = params.shape.heads * params.shape.gates * tiles_per_block(params.shape);
  parallel_for(
      tiles, [](const void* context, int64_t item) { kMove(*static_cast<const PackParams*>(context), item); },
      &params);
}

}  // namespace

void pack_cpu(const PackParams& params) {
  ask_for_huge_pages(params.packed, packed_size(params.shape) * params.element_size);
  params.element_size == 2 ? move_tiles<pack_tile<uint16_t>>(params)
                           : move_tiles<pack_tile<uint32_t>>(params);
}

void unpack_cpu(const PackParams& params) {
  params.element_size == 2 ? move_tiles<unpack_tile<uint16_t>>(params)
                           : move_tiles<unpack_tile<uint32_t>>(params);
}

}  // namespace pararnn
