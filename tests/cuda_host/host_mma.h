// What csrc/cuda/products/mma.cuh is where there are no tensor cores: a warp's lanes lay their fragments
// before each other, and each adds up its own four sums.
#pragma once

#include <cmath>

#include "cuda/widen.h"

namespace pararnn {
namespace PARARNN_ISA {

namespace host {

inline float value_of(uint32_t pair, int which) { return widen(BFloat16{uint16_t(pair >> 16 * which)}); }

struct Fragments {
  uint32_t a[4], b[2];
};

// Where a depth stands: which lane of four has it, in which of its two words, in which half.
constexpr int lane_of(int depth) { return depth % 8 / 2; }
constexpr int word_of(int depth) { return depth / 8; }

}  // namespace host

inline uint32_t narrow_pair(float low, float high) {
  return narrow(low).bits | uint32_t(narrow(high).bits) << 16;
}

inline uint32_t multiply_add_pairs(uint32_t x, uint32_t y, uint32_t z) {
  const auto half = [&](int i) {
    return std::fma(host::value_of(x, i), host::value_of(y, i), host::value_of(z, i));
  };
  return narrow_pair(half(0), half(1));
}

inline uint32_t choose_bytes(uint32_t x, uint32_t y, uint32_t which) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out |= uint32_t(bytes >> (which >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return out;
}

inline uint32_t put_bits(uint32_t x, uint32_t mask, uint32_t others) { return (x & mask) | others; }

// Products are exact and their sum is rounded once: no GPU promises an order.
inline void mma(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  host::Fragments own, all[kWarp];
  std::memcpy(own.a, a, sizeof(own.a));
  std::memcpy(own.b, b, sizeof(own.b));
  fibers::gather({file, line}, &own, all, sizeof(own));
  const int group = thread_index() % kWarp / 4, place = thread_index() % 4;
  for (int i = 0; i < 4; ++i) {
    const int lower = i / 2, column = 2 * place + i % 2;
    double sum = double(sums[i]);
    for (int depth = 0; depth < kMmaDepth; ++depth) {
      const int lane = host::lane_of(depth), word = host::word_of(depth);
      sum += double(host::value_of(all[4 * group + lane].a[2 * word + lower], depth % 2)) *
             double(host::value_of(all[4 * column + lane].b[word], depth % 2));
    }
    sums[i] = float(sum);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
