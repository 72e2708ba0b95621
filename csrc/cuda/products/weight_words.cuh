// How a word of weights becomes pairs of bfloat16, exactly, and which inputs go with them.
//
// kValues: weights in a word. widen: their pairs. match: those inputs, pairs in their order, as pairs in that
// of the weights. What is added up has no order: only that both agree matters.
#pragma once

#include "cuda/products/mma.cuh"

namespace pararnn {
namespace PARARNN_ISA {

constexpr uint32_t kPairOfOnes = 0x3f803f80;

struct BFloat16Words {
  static constexpr int kValues = 2;
  static constexpr bool kHasScales = false;

  PARARNN_DEVICE static void widen(uint32_t word, uint32_t (&pairs)[1]) { pairs[0] = word; }
  PARARNN_DEVICE static void match(const uint32_t* inputs, uint32_t (&pairs)[1]) { pairs[0] = inputs[0]; }
};

struct Int8Words {
  static constexpr int kValues = 4;
  static constexpr bool kHasScales = true;

  // The bits of 128 + n are 0x4300 + n for n < 128. Of a byte, n are the low seven bits; its sign bit takes
  // away 256 instead of 128.
  PARARNN_DEVICE static void widen(uint32_t word, uint32_t (&pairs)[2]) {
    PARARNN_UNROLL
    for (int i = 0; i < 2; ++i) {
      const uint32_t spread = choose_bytes(word, 0x43434343, i == 0 ? 0x4140 : 0x4342);
      const uint32_t taken = put_bits(spread, 0x00800080, 0xc300c300);
      pairs[i] = multiply_add_pairs(spread & 0xff7fff7f, kPairOfOnes, taken);
    }
  }

  PARARNN_DEVICE static void match(const uint32_t* inputs, uint32_t (&pairs)[2]) {
    pairs[0] = inputs[0];
    pairs[1] = inputs[1];
  }
};

// Pair i holds nibbles i and i + 4, which stand 16 bits apart.
struct Int4Words {
  static constexpr int kValues = 8;
  static constexpr bool kHasScales = true;

  // 128 + nibble, less 136.
  PARARNN_DEVICE static void widen(uint32_t word, uint32_t (&pairs)[4]) {
    PARARNN_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t raised = put_bits(word >> 4 * i, 0x000f000f, 0x43004300);
      pairs[i] = multiply_add_pairs(raised, kPairOfOnes, 0xc308c308);
    }
  }

  PARARNN_DEVICE static void match(const uint32_t* inputs, uint32_t (&pairs)[4]) {
    PARARNN_UNROLL
    for (int i = 0; i < 4; ++i)
      pairs[i] = choose_bytes(inputs[i / 2], inputs[i / 2 + 2], i % 2 == 0 ? 0x5410 : 0x7632);
  }
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
