// What the 512-bit instructions that csrc/cpu uses do, lane by lane, after their published semantics. Every
// object file has copies of its own: without AVX-512 a call passes such vectors in another way than with it.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace pararnn::stand_ins {

// Not inlined: unrolled in the products, the lanes would take the compiler minutes.
#define PARARNN_STAND_IN static inline __attribute__((noinline))

template <class Lane>
struct Lanes {
  static constexpr int kCount = 64 / int(sizeof(Lane));
  Lane at[kCount];

  template <class Vector>
  __attribute__((always_inline)) static Lanes of(const Vector& vector) {
    static_assert(sizeof(Vector) == 64);
    Lanes lanes;
    std::memcpy(&lanes, &vector, sizeof(lanes));
    return lanes;
  }

  template <class Vector>
  __attribute__((always_inline)) Vector as() const {
    Vector vector;
    std::memcpy(&vector, this, sizeof(vector));
    return vector;
  }
};

inline __attribute__((always_inline)) int16_t saturated16(int32_t value) {
  return int16_t(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

PARARNN_STAND_IN __m512 set1_ps(float value) {
  Lanes<float> out;
  for (float& lane : out.at) lane = value;
  return out.as<__m512>();
}

PARARNN_STAND_IN __m512i set1_epi16(int16_t value) {
  Lanes<int16_t> out;
  for (int16_t& lane : out.at) lane = value;
  return out.as<__m512i>();
}

PARARNN_STAND_IN __m512 fmadd_ps(__m512 x, __m512 y, __m512 z) {
  const auto xs = Lanes<float>::of(x), ys = Lanes<float>::of(y), zs = Lanes<float>::of(z);
  Lanes<float> out;
  for (int i = 0; i < out.kCount; ++i) out.at[i] = std::fma(xs.at[i], ys.at[i], zs.at[i]);
  return out.as<__m512>();
}

// Lanes outside of the mask are not read: they may lie in no memory.
PARARNN_STAND_IN __m512 maskz_loadu_ps(__mmask16 mask, const void* from) {
  Lanes<float> out{};
  for (int i = 0; i < out.kCount; ++i) {
    if (mask >> i & 1) std::memcpy(&out.at[i], static_cast<const char*>(from) + 4 * i, 4);
  }
  return out.as<__m512>();
}

PARARNN_STAND_IN void mask_storeu_ps(void* to, __mmask16 mask, __m512 x) {
  const auto xs = Lanes<float>::of(x);
  for (int i = 0; i < xs.kCount; ++i) {
    if (mask >> i & 1) std::memcpy(static_cast<char*>(to) + 4 * i, &xs.at[i], 4);
  }
}

// The comparison is part of the name that calls it: another one has no stand-in.
PARARNN_STAND_IN __mmask16 cmp_ge_oq_ps_mask(__m512 x, __m512 y) {
  const auto xs = Lanes<float>::of(x), ys = Lanes<float>::of(y);
  unsigned mask = 0;
  for (int i = 0; i < xs.kCount; ++i) mask |= unsigned(xs.at[i] >= ys.at[i]) << i;
  return __mmask16(mask);
}

// Pairs of signed 16-bit products, added. Only -32768 four times wraps around, as the instruction does.
PARARNN_STAND_IN __m512i madd_epi16(__m512i x, __m512i y) {
  const auto xs = Lanes<int16_t>::of(x), ys = Lanes<int16_t>::of(y);
  Lanes<uint32_t> out;
  for (int i = 0; i < out.kCount; ++i) {
    out.at[i] = uint32_t(xs.at[2 * i] * ys.at[2 * i]) + uint32_t(xs.at[2 * i + 1] * ys.at[2 * i + 1]);
  }
  return out.as<__m512i>();
}

// Unsigned bytes of x times signed bytes of y; sums of pairs saturate at 16 bits.
PARARNN_STAND_IN __m512i maddubs_epi16(__m512i x, __m512i y) {
  const auto xs = Lanes<uint8_t>::of(x);
  const auto ys = Lanes<int8_t>::of(y);
  Lanes<int16_t> out;
  for (int i = 0; i < out.kCount; ++i) {
    out.at[i] = saturated16(xs.at[2 * i] * ys.at[2 * i] + xs.at[2 * i + 1] * ys.at[2 * i + 1]);
  }
  return out.as<__m512i>();
}

// sum + four products of unsigned bytes of x with signed bytes of y, modulo 2^32.
PARARNN_STAND_IN __m512i dpbusd_epi32(__m512i sum, __m512i x, __m512i y) {
  const auto xs = Lanes<uint8_t>::of(x);
  const auto ys = Lanes<int8_t>::of(y);
  auto out = Lanes<uint32_t>::of(sum);
  for (int i = 0; i < 4 * out.kCount; ++i) out.at[i / 4] += uint32_t(xs.at[i] * ys.at[i]);
  return out.as<__m512i>();
}

#undef PARARNN_STAND_IN

}  // namespace pararnn::stand_ins
