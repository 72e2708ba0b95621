// bfloat16 of the tests, apart from the kernels' own.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace pararnn {

inline float widened(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float out;
  std::memcpy(&out, &wide, sizeof(out));
  return out;
}

// To nearest, ties to even.
inline uint16_t bfloat16_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float rounded(float x) { return widened(bfloat16_bits(x)); }

}  // namespace pararnn
