// Vectors of small integers, as the level has them. A 32-bit lane holds four bytes or two 16-bit numbers.
#pragma once

#include "cpu/simd/simd.h"

namespace pararnn {
namespace PARARNN_ISA {

typedef uint16_t WordLanes __attribute__((vector_size(4 * kLanes)));

PARARNN_HD IntLanes load_int(const void* from) {
  IntLanes out;
  memcpy(&out, from, sizeof(out));
  return out;
}

PARARNN_HD IntLanes broadcast(int32_t value) { return IntLanes{} + value; }

// The same four bytes in every lane.
PARARNN_HD IntLanes broadcast_bytes(const void* from) {
  int32_t word;
  memcpy(&word, from, sizeof(word));
  return broadcast(word);
}

PARARNN_HD Vec to_float(IntLanes x) { return __builtin_convertvector(x, FloatLanes); }

// Integers that fit the narrower type. (A compiler's own conversion of vectors takes the long way on x86.)
PARARNN_HD void store_narrow(int16_t* to, IntLanes x) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m128i low = _mm256_castsi256_si128((__m256i)x), high = _mm256_extracti128_si256((__m256i)x, 1);
  _mm_storeu_si128((__m128i*)to, _mm_packs_epi32(low, high));
#else
  typedef int16_t Narrow __attribute__((vector_size(2 * kLanes)));
  const Narrow narrow = __builtin_convertvector(x, Narrow);
  memcpy(to, &narrow, sizeof(narrow));
#endif
}

PARARNN_HD void store_narrow(int8_t* to, IntLanes x) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m128i low = _mm256_castsi256_si128((__m256i)x), high = _mm256_extracti128_si256((__m256i)x, 1);
  const __m128i words = _mm_packs_epi32(low, high);
  _mm_storel_epi64((__m128i*)to, _mm_packs_epi16(words, words));
#else
  typedef int8_t Narrow __attribute__((vector_size(kLanes)));
  const Narrow narrow = __builtin_convertvector(x, Narrow);
  memcpy(to, &narrow, sizeof(narrow));
#endif
}

// Each byte pair of a lane as two 16-bit numbers: the even bytes, the odd bytes.
PARARNN_HD IntLanes even_bytes(IntLanes x) { return x & 0x00ff00ff; }
PARARNN_HD IntLanes odd_bytes(IntLanes x) { return (IntLanes)((WordLanes)x >> 8); }

PARARNN_HD IntLanes low_nibbles(IntLanes x) { return x & 0x0f0f0f0f; }
PARARNN_HD IntLanes high_nibbles(IntLanes x) { return (IntLanes)((WordLanes)x >> 4) & 0x0f0f0f0f; }

// sum + x0 y0 + x1 y1 over the two signed 16-bit numbers of each lane.
PARARNN_HD IntLanes add_products16(IntLanes sum, IntLanes x, IntLanes y) {
#if defined(__AVX512BW__)
  return sum + (IntLanes)_mm512_madd_epi16((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
  return sum + (IntLanes)_mm256_madd_epi16((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
  return sum + (IntLanes)_mm_madd_epi16((__m128i)x, (__m128i)y);
#else
  return sum + ((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16);
#endif
}

#if defined(__AVX512VNNI__)
// sum + the products of the four unsigned bytes of x with the four signed bytes of y.
PARARNN_HD IntLanes add_products8(IntLanes sum, IntLanes x, IntLanes y) {
  return (IntLanes)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)y);
}
#elif defined(__AVX2__)
// x0 y0 + x1 y1 and x2 y2 + x3 y3 as 16-bit numbers; x unsigned, y signed, the sums must fit.
PARARNN_HD WordLanes byte_products(IntLanes x, IntLanes y) {
#if defined(__AVX512BW__)
  return (WordLanes)_mm512_maddubs_epi16((__m512i)x, (__m512i)y);
#else
  return (WordLanes)_mm256_maddubs_epi16((__m256i)x, (__m256i)y);
#endif
}
#if !defined(__AVX512BW__)
PARARNN_HD IntLanes byte_sizes(IntLanes x) { return (IntLanes)_mm256_abs_epi8((__m256i)x); }

// The bytes of x, negated where those of `signs` are negative and 0 where they are 0.
PARARNN_HD IntLanes with_signs_of(IntLanes signs, IntLanes x) {
  return (IntLanes)_mm256_sign_epi8((__m256i)x, (__m256i)signs);
}
#endif
#endif

}  // namespace PARARNN_ISA
}  // namespace pararnn
