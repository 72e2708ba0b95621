// How a level multiplies the bytes of a packed int8 or int4 tile with quantised activations. The sum over a
// group is exact, so the way there is free: every format gives the same integers.
#pragma once

#include "cpu/simd/int_simd.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int64_t kUnit = kGroupStep;  // inputs that every group has a multiple of, in packed form

// Whole groups of tiles side by side, tile_stride bytes apart.
template <int Rows, int Tiles>
using IntSums = IntLanes[Rows][Tiles * kTileVectors];

// Units that one start serves, where that is not fewer than a group has.
constexpr int64_t kWholeGroup = int64_t(1) << 40;

// A format in which one start serves a group: what a sum over weights that are stored kTooLarge too large has
// to start from.
template <int32_t kTooLarge>
struct OneStart {
  static constexpr int32_t kZero = kTooLarge;
  static constexpr int64_t kStartUnits = kWholeGroup;

  // sums: of the group's inputs, by lanes.
  PARARNN_HD static int32_t start(IntLanes sums) {
    int32_t lanes[kLanes], sum = 0;
    memcpy(lanes, &sums, sizeof(lanes));
    for (const int32_t lane : lanes) sum += lane;
    return -kZero * sum;
  }
};

// starts: of the first row.
template <int32_t kZero, int Rows, int Vectors>
PARARNN_HD void start_sums(IntLanes (&sums)[Rows][Vectors], const int32_t* starts, int64_t starts_stride) {
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    const IntLanes start = kZero == 0 ? IntLanes{} : broadcast(starts[r * starts_stride]);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) sums[r][v] = start;
  }
}

// Several rows read few tiles at once, too slowly for the processor to read ahead of them by itself.
PARARNN_HD void prefetch(const uint8_t* tile) { __builtin_prefetch(tile + 2048); }

PARARNN_HD const uint8_t* vector_of(const uint8_t* tile, int v) { return tile + v * kLanes * 4; }

// Bytes times 16-bit activations, for levels without a product of bytes that cannot overflow.
struct Int8Wide : OneStart<128> {
  using Activation = int16_t;
  static constexpr bool kSwapsMiddleBytes = true;  // so that even and odd bytes are neighbouring inputs
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs;

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    start_sums<kZero>(sums, starts, starts_stride);
    for (int64_t step = 0; step < units * 4; ++step, tile += 4 * kTileOutputs, x += 4) {
#pragma GCC unroll 4
      for (int t = 0; t < Tiles; ++t) {
        if (Rows > 1) prefetch(tile + t * tile_stride);
        IntLanes even[kTileVectors], odd[kTileVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          const IntLanes bytes = load_int(vector_of(tile + t * tile_stride, v));
          even[v] = even_bytes(bytes);
          odd[v] = odd_bytes(bytes);
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const IntLanes first = broadcast_bytes(x + r * stride),
                         second = broadcast_bytes(x + r * stride + 2);
#pragma GCC unroll 4
          for (int v = 0; v < kTileVectors; ++v) {
            IntLanes& sum = sums[r][t * kTileVectors + v];
            sum = add_products16(add_products16(sum, even[v], first), odd[v], second);
          }
        }
      }
    }
  }
};

struct Int4Wide : OneStart<8> {
  using Activation = int16_t;
  static constexpr bool kSwapsMiddleBytes = true;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    start_sums<kZero>(sums, starts, starts_stride);
    for (int64_t step = 0; step < units * 2; ++step, tile += 4 * kTileOutputs, x += 8) {
#pragma GCC unroll 16
      for (int v = 0; v < Tiles * kTileVectors; ++v) {
        const uint8_t* const from = tile + v / kTileVectors * tile_stride;
        const IntLanes bytes = load_int(vector_of(from, v % kTileVectors));
        const IntLanes low = low_nibbles(bytes), high = high_nibbles(bytes);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const Activation* const row = x + r * stride;
          sums[r][v] = add_products16(sums[r][v], even_bytes(low), broadcast_bytes(row));
          sums[r][v] = add_products16(sums[r][v], odd_bytes(low), broadcast_bytes(row + 2));
          sums[r][v] = add_products16(sums[r][v], even_bytes(high), broadcast_bytes(row + 4));
          sums[r][v] = add_products16(sums[r][v], odd_bytes(high), broadcast_bytes(row + 6));
        }
      }
    }
  }
};

#if defined(__AVX512VNNI__)

struct Int8Dot : OneStart<128> {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs;

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    start_sums<kZero>(sums, starts, starts_stride);
    for (int64_t step = 0; step < units * 4; ++step, tile += 4 * kTileOutputs, x += 4) {
#pragma GCC unroll 4
      for (int t = 0; t < Tiles; ++t) {
        if (Rows > 1) prefetch(tile + t * tile_stride);
        const IntLanes bytes = load_int(tile + t * tile_stride);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          sums[r][t] = add_products8(sums[r][t], bytes, broadcast_bytes(x + r * stride));
        }
      }
    }
  }
};

struct Int4Dot : OneStart<8> {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    start_sums<kZero>(sums, starts, starts_stride);
    for (int64_t step = 0; step < units * 2; ++step, tile += 4 * kTileOutputs, x += 8) {
#pragma GCC unroll 4
      for (int t = 0; t < Tiles; ++t) {
        if (Rows > 1) prefetch(tile + t * tile_stride);
        const IntLanes bytes = load_int(tile + t * tile_stride);
        const IntLanes low = low_nibbles(bytes), high = high_nibbles(bytes);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          sums[r][t] = add_products8(sums[r][t], low, broadcast_bytes(x + r * stride));
          sums[r][t] = add_products8(sums[r][t], high, broadcast_bytes(x + r * stride + 4));
        }
      }
    }
  }
};

using Int8Format = Int8Dot;
using Int4Format = Int4Dot;

#elif defined(__AVX2__)

#if defined(__AVX512BW__)

using Int8Format = Int8Wide;

#else

// Signed bytes times signed bytes, the sign of a weight moved to its input: |weight| <= 128 and |input| <=
// 127 leave the sum of two products within 16 bits.
struct Int8Bytes : OneStart<0> {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs;

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    start_sums<kZero>(sums, starts, starts_stride);
    for (int64_t step = 0; step < units * 4; ++step, tile += 4 * kTileOutputs, x += 4) {
#pragma GCC unroll 4
      for (int t = 0; t < Tiles; ++t) {
        if (Rows > 1) prefetch(tile + t * tile_stride);
        IntLanes weights[kTileVectors], sizes[kTileVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          weights[v] = load_int(vector_of(tile + t * tile_stride, v));
          sizes[v] = byte_sizes(weights[v]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const IntLanes inputs = broadcast_bytes(x + r * stride);
#pragma GCC unroll 4
          for (int v = 0; v < kTileVectors; ++v) {
            const WordLanes pairs = byte_products(sizes[v], with_signs_of(weights[v], inputs));
            IntLanes& sum = sums[r][t * kTileVectors + v];
            sum = add_products16(sum, (IntLanes)pairs, broadcast(0x00010001));
          }
        }
      }
    }
  }
};

using Int8Format = Int8Bytes;

#endif

// Sums in 16 bits hold 8 products of two nibbles with two inputs, each up to 2 * 15 * 127. They start from
// what the two inputs of their half of a lane call for, and end within 16 bits whatever they overflow on the
// way.
struct Int4Bytes {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int32_t kZero = 8;
  static constexpr int64_t kStartUnits = 2;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;

  PARARNN_HD static int32_t start(IntLanes sums) {
    int32_t lanes[kLanes], halves[2] = {0, 0};
    memcpy(lanes, &sums, sizeof(lanes));
    for (int i = 0; i < kLanes; ++i) halves[i / 2 % 2] += lanes[i];
    return int32_t(uint32_t(-kZero * halves[1]) << 16 | (uint32_t(-kZero * halves[0]) & 0xffff));
  }

  template <int Rows, int Tiles>
  PARARNN_HD static void add(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                             const Activation* x, int64_t stride, int64_t units, const int32_t* starts,
                             int64_t starts_stride) {
    if (units == kStartUnits) {
      add_words<Rows, Tiles, kStartUnits, false>(sums, tile, tile_stride, x, stride, starts, starts_stride);
      return;
    }
    start_sums<0>(sums, starts, starts_stride);
    for (; units >= kStartUnits; units -= kStartUnits) {
      add_words<Rows, Tiles, kStartUnits, true>(sums, tile, tile_stride, x, stride, starts++, starts_stride);
      tile += kStartUnits * kUnitBytes;
      x += kStartUnits * kUnit;
    }
    if (units > 0) add_words<Rows, Tiles, 1, true>(sums, tile, tile_stride, x, stride, starts, starts_stride);
  }

  // kGoesOn: to the sums so far.
  template <int Rows, int Tiles, int kUnits, bool kGoesOn>
  PARARNN_HD static void add_words(IntSums<Rows, Tiles>& sums, const uint8_t* tile, int64_t tile_stride,
                                   const Activation* x, int64_t stride, const int32_t* starts,
                                   int64_t starts_stride) {
    WordLanes words[Rows][Tiles * kTileVectors];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const WordLanes start = (WordLanes)broadcast(starts[r * starts_stride]);
#pragma GCC unroll 16
      for (int v = 0; v < Tiles * kTileVectors; ++v) words[r][v] = start;
    }
#pragma GCC unroll 4
    for (int step = 0; step < kUnits * 2; ++step, tile += 4 * kTileOutputs, x += 8) {
#pragma GCC unroll 4
      for (int t = 0; t < Tiles; ++t) {
        if (Rows > 1) prefetch(tile + t * tile_stride);
        IntLanes bytes[kTileVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) bytes[v] = load_int(vector_of(tile + t * tile_stride, v));
        // One half after the other: four vectors of nibbles and all sums at once do not fit the registers.
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          IntLanes nibbles[kTileVectors];
#pragma GCC unroll 4
          for (int v = 0; v < kTileVectors; ++v) {
            nibbles[v] = half == 0 ? low_nibbles(bytes[v]) : high_nibbles(bytes[v]);
          }
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r) {
            const IntLanes inputs = broadcast_bytes(x + r * stride + half * 4);
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) {
              words[r][t * kTileVectors + v] += byte_products(nibbles[v], inputs);
            }
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < Tiles * kTileVectors; ++v) {
        const IntLanes before = kGoesOn ? sums[r][v] : IntLanes{};
        sums[r][v] = add_products16(before, (IntLanes)words[r][v], broadcast(0x00010001));
      }
    }
  }
};

using Int4Format = Int4Bytes;

#else

using Int8Format = Int8Wide;
using Int4Format = Int4Wide;

#endif

}  // namespace PARARNN_ISA
}  // namespace pararnn
