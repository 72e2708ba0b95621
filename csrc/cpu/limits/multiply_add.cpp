// How many multiply-adds the cores do in a second when nothing has to be fetched: what a product kernel may
// be compared with. Two by four accumulators, as a tile of a product has them.
#include "cpu/simd/simd.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kRows = 2, kColumns = 4;

// The compiler may assume nothing about the value from here on.
template <class Lanes>
PARARNN_HD void forget(Lanes& value) {
#if defined(__AVX512F__)
  asm volatile("" : "+v"(value));
#elif defined(__x86_64__)
  asm volatile("" : "+x"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#else
  asm volatile("" : "+m"(value));
#endif
}

struct FloatUnit {
  using Lanes = FloatLanes;
  static constexpr int64_t kProducts = kLanes;
  static Lanes filled(int value) { return Vec(float(value)).lanes; }
  static Lanes add(Lanes sum, Lanes x, Lanes y) { return madd(x, y, sum).lanes; }
};

// Bytes to exact 32-bit sums, by the shortest way that the level has.
struct IntUnit {
  using Lanes = IntLanes;
#if defined(__AVX512VNNI__)
  static constexpr int64_t kProducts = 4 * kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) {
    return (Lanes)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)y);
  }
#elif defined(__AVX512BW__)
  static constexpr int64_t kProducts = 4 * kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) {
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)x, (__m512i)y);
    return sum + (Lanes)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
  }
#elif defined(__AVX2__)
  static constexpr int64_t kProducts = 4 * kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x, (__m256i)y);
    return sum + (Lanes)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }
#elif defined(__SSE2__)
  static constexpr int64_t kProducts = 2 * kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) {
    return sum + (Lanes)_mm_madd_epi16((__m128i)x, (__m128i)y);
  }
#elif defined(__ARM_FEATURE_DOTPROD)
  static constexpr int64_t kProducts = 4 * kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) {
    return (Lanes)vdotq_s32((int32x4_t)sum, (int8x16_t)x, (int8x16_t)y);
  }
#else
  static constexpr int64_t kProducts = kLanes;
  static Lanes add(Lanes sum, Lanes x, Lanes y) { return sum + x * y; }
#endif
  static Lanes filled(int value) { return Lanes{} + value; }
};

// Returns how many multiply-adds were done.
template <class Unit>
int64_t multiply_in_registers(int64_t rounds) {
  using Lanes = typename Unit::Lanes;
  Lanes x[kRows], y[kColumns], sums[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) x[r] = Unit::filled(r + 1);
  for (int c = 0; c < kColumns; ++c) y[c] = Unit::filled(c + 1);
  for (auto& row : sums) {
    for (Lanes& sum : row) sum = Unit::filled(0);
  }
  for (Lanes& each : y) forget(each);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      forget(x[r]);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sums[r][c] = Unit::add(sums[r][c], x[r], y[c]);
    }
  }
  for (auto& row : sums) {
    for (Lanes& sum : row) forget(sum);
  }
  return rounds * kRows * kColumns * Unit::kProducts;
}

}  // namespace

void multiply_add(const MultiplyAddParams& p) {
  parallel(p.parts, [&](int64_t index) {
    p.done[index] = p.unit == MultiplyUnit::kInt8 ? multiply_in_registers<IntUnit>(p.rounds)
                                                  : multiply_in_registers<FloatUnit>(p.rounds);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
