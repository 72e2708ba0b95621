// How a level multiplies the bytes of a packed int8 or int4 tile with quantised activations. The sum over a
// group is exact, so the way there is free: every format gives the same integers.
#pragma once

#include "../params.h"
#include "int_simd.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int64_t kUnit = kGroupStep;  // inputs that every group has a multiple of, in packed form

template <int Rows>
using IntSums = IntLanes[Rows][kTileVectors];

PARARNN_HD const uint8_t* vector_of(const uint8_t* tile, int v) { return tile + v * kLanes * 4; }

// Bytes times 16-bit activations, for levels without a product of bytes that cannot overflow.
struct Int8Wide {
  using Activation = int16_t;
  static constexpr bool kSwapsMiddleBytes = true;  // so that even and odd bytes are neighbouring inputs
  static constexpr int32_t kZero = 128;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs;

  template <int Rows>
  PARARNN_HD static void add(IntSums<Rows>& sums, const uint8_t* tile, const Activation* x, int64_t stride,
                             int64_t units) {
    for (int64_t step = 0; step < units * 4; ++step, tile += 4 * kTileOutputs, x += 4) {
      IntLanes even[kTileVectors], odd[kTileVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const IntLanes bytes = load_int(vector_of(tile, v));
        even[v] = even_bytes(bytes);
        odd[v] = odd_bytes(bytes);
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const IntLanes first = broadcast_bytes(x + r * stride), second = broadcast_bytes(x + r * stride + 2);
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          sums[r][v] = add_products16(sums[r][v], even[v], first);
          sums[r][v] = add_products16(sums[r][v], odd[v], second);
        }
      }
    }
  }
};

struct Int4Wide {
  using Activation = int16_t;
  static constexpr bool kSwapsMiddleBytes = true;
  static constexpr int32_t kZero = 8;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;

  template <int Rows>
  PARARNN_HD static void add(IntSums<Rows>& sums, const uint8_t* tile, const Activation* x, int64_t stride,
                             int64_t units) {
    for (int64_t step = 0; step < units * 2; ++step, tile += 4 * kTileOutputs, x += 8) {
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        const IntLanes bytes = load_int(vector_of(tile, v));
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

// Independent sums that hide the latency of the instruction where rows are few.
template <int Rows>
constexpr int kChains = Rows == 1   ? 4
                        : Rows == 2 ? 2
                                    : 1;

struct Int8Dot {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int32_t kZero = 128;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs;

  template <int Rows>
  PARARNN_HD static void add(IntSums<Rows>& sums, const uint8_t* tile, const Activation* x, int64_t stride,
                             int64_t units) {
    IntLanes chains[kChains<Rows>][Rows] = {};
    for (int64_t unit = 0; unit < units; ++unit, tile += kUnitBytes, x += kUnit) {
#pragma GCC unroll 4
      for (int step = 0; step < 4; ++step) {
        const IntLanes bytes = load_int(tile + step * 4 * kTileOutputs);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          IntLanes& sum = chains[step % kChains<Rows>][r];
          sum = add_products8(sum, bytes, broadcast_bytes(x + r * stride + step * 4));
        }
      }
    }
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains<Rows>; ++chain) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) sums[r][0] += chains[chain][r];
    }
  }
};

struct Int4Dot {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int32_t kZero = 8;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;

  template <int Rows>
  PARARNN_HD static void add(IntSums<Rows>& sums, const uint8_t* tile, const Activation* x, int64_t stride,
                             int64_t units) {
    IntLanes chains[kChains<Rows>][Rows] = {};
    for (int64_t unit = 0; unit < units; ++unit, tile += kUnitBytes, x += kUnit) {
#pragma GCC unroll 2
      for (int step = 0; step < 2; ++step) {
        const IntLanes bytes = load_int(tile + step * 4 * kTileOutputs);
        const IntLanes low = low_nibbles(bytes), high = high_nibbles(bytes);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const Activation* const row = x + r * stride + step * 8;
          IntLanes& first = chains[2 * step % kChains<Rows>][r];
          first = add_products8(first, low, broadcast_bytes(row));
          IntLanes& second = chains[(2 * step + 1) % kChains<Rows>][r];
          second = add_products8(second, high, broadcast_bytes(row + 4));
        }
      }
    }
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains<Rows>; ++chain) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) sums[r][0] += chains[chain][r];
    }
  }
};

using Int8Format = Int8Dot;
using Int4Format = Int4Dot;

#elif defined(__AVX2__)

struct Int4Bytes {
  using Activation = int8_t;
  static constexpr bool kSwapsMiddleBytes = false;
  static constexpr int32_t kZero = 8;
  static constexpr int64_t kUnitBytes = kUnit * kTileOutputs / 2;
  static constexpr int64_t kUnitsInWords = 2;  // 16-bit sums hold 8 products of 2 * 15 * 127

  template <int Rows>
  PARARNN_HD static void add(IntSums<Rows>& sums, const uint8_t* tile, const Activation* x, int64_t stride,
                             int64_t units) {
    for (int64_t unit = 0; unit < units; unit += kUnitsInWords) {
      const int64_t steps = 2 * (units - unit < kUnitsInWords ? units - unit : kUnitsInWords);
      WordLanes words[Rows][kTileVectors] = {};
      for (int64_t step = 0; step < steps; ++step, tile += 4 * kTileOutputs, x += 8) {
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          const IntLanes bytes = load_int(vector_of(tile, v));
          const IntLanes low = low_nibbles(bytes), high = high_nibbles(bytes);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r) {
            const Activation* const row = x + r * stride;
            words[r][v] += byte_products(low, broadcast_bytes(row));
            words[r][v] += byte_products(high, broadcast_bytes(row + 4));
          }
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          sums[r][v] = add_products16(sums[r][v], (IntLanes)words[r][v], broadcast(0x00010001));
        }
      }
    }
  }
};

using Int8Format = Int8Wide;
using Int4Format = Int4Bytes;

#else

using Int8Format = Int8Wide;
using Int4Format = Int4Wide;

#endif

}  // namespace PARARNN_ISA
}  // namespace pararnn
