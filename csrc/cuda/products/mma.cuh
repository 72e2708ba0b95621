// Products of tensor cores, and arithmetic on pairs of bfloat16. Tests emulate both
// (tests/cuda_host/host_mma.h).
//
// A pair is a word: the value that comes first in memory in its low half.
#pragma once

#include "cuda/block.cuh"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kMmaRows = 16;
constexpr int kMmaColumns = 8;
constexpr int kMmaDepth = 16;

}  // namespace PARARNN_ISA
}  // namespace pararnn

#ifdef PARARNN_CUDA_HOST
#include "host_mma.h"
#else

namespace pararnn {
namespace PARARNN_ISA {

// x * y + z of both halves.
PARARNN_DEVICE uint32_t multiply_add_pairs(uint32_t x, uint32_t y, uint32_t z) {
  uint32_t out;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(x), "r"(y), "r"(z));
  return out;
}

// Both rounded to the nearest.
PARARNN_DEVICE uint32_t narrow_pair(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

// Of eight bytes, those of x the low ones: one for each hexadecimal digit of `which`, the lowest digit first.
PARARNN_DEVICE uint32_t choose_bytes(uint32_t x, uint32_t y, uint32_t which) {
  return __byte_perm(x, y, which);
}

// (x & mask) | others, in one instruction.
PARARNN_DEVICE uint32_t put_bits(uint32_t x, uint32_t mask, uint32_t others) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(out) : "r"(x), "r"(mask), "r"(others));
  return out;
}

// sums (16, 8) += a (16, 16) b (16, 8), by a whole warp. Lane 4 g + t holds (PTX ISA, "Matrix Fragments for
// mma.m16n8k16 with floating point type", .bf16)
//   a     rows g, g + 8, g, g + 8; depths 2 t and 2 t + 1 in the first two, 2 t + 8 and 2 t + 9 in the others
//   b     column g; the same depths
//   sums  (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1)
PARARNN_DEVICE void mma(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  // Volatile: it must stay where the whole warp goes.
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(sums[0]), "f"(sums[1]),
        "f"(sums[2]), "f"(sums[3]));
}

}  // namespace PARARNN_ISA
}  // namespace pararnn

#endif
