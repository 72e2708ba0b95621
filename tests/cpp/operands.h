// Three operands of 64 bytes for instructions on integers or floats.
#pragma once

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstring>

#include "random.h"

namespace pararnn {

using Bytes = std::array<unsigned char, 64>;

struct Operands {
  Bytes bytes[3];

  static Operands filled(unsigned char byte) {
    Operands out;
    for (Bytes& operand : out.bytes) operand.fill(byte);
    return out;
  }

  // The ends of the ranges often: there sums saturate.
  static Operands of_integers(Random& random) {
    constexpr unsigned char kEnds[] = {0x00, 0x7f, 0x80, 0xff};
    Operands out;
    for (Bytes& operand : out.bytes) {
      for (unsigned char& byte : operand)
        byte = random.integer(0, 2) == 0 ? kEnds[random.integer(0, 3)]
                                         : static_cast<unsigned char>(random.next());
    }
    return out;
  }

  // Of like sizes, some of them equal, infinite or no numbers.
  static Operands of_floats(Random& random) {
    const float special[] = {0.0f, -0.0f, 1.0f, __builtin_inff(), -__builtin_inff(), __builtin_nanf("")};
    Operands out;
    for (Bytes& operand : out.bytes) {
      for (int i = 0; i < 16; ++i) {
        const float number = random.integer(0, 9) == 0 ? special[random.integer(0, 5)] : random.number(2.0f);
        std::memcpy(operand.data() + 4 * i, &number, 4);
      }
    }
    return out;
  }

  template <class Vector>
  Vector get(int i, int offset = 0) const {
    Vector out;
    std::memcpy(&out, bytes[i].data() + offset, sizeof(out));
    return out;
  }
  __attribute__((always_inline)) __m512 floats(int i) const { return get<__m512>(i); }
  __attribute__((always_inline)) __m512i integers(int i) const { return get<__m512i>(i); }
};

// The same bits, or no number in both.
inline bool same_numbers(const Bytes& x, const Bytes& y) {
  for (int i = 0; i < 16; ++i) {
    float of_x, of_y;
    std::memcpy(&of_x, x.data() + 4 * i, 4);
    std::memcpy(&of_y, y.data() + 4 * i, 4);
    if (std::memcmp(&of_x, &of_y, 4) != 0 && !(std::isnan(of_x) && std::isnan(of_y))) return false;
  }
  return true;
}

}  // namespace pararnn
