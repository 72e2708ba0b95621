// The stand-ins: answers worked out by hand, then random operands beside the instructions themselves. Where
// this is not compiled for AVX-512 those of AVX2 do the same to either half, but for dpbusd, which AVX2
// lacks.
#include "avx512_stand_ins.h"
#include "operands.h"
#include "tests.h"

namespace pararnn {
namespace {

void check_known_answers(Checks& checks) {
  checks.about("answers worked out by hand");
  const auto filled = [](unsigned char byte) { return Operands::filled(byte).integers(0); };
  const auto first_word = [](__m512i x) { return stand_ins::Lanes<int16_t>::of(x).at[0]; };
  const auto first = [](__m512i x) { return stand_ins::Lanes<int32_t>::of(x).at[0]; };
  checks.that(first_word(stand_ins::maddubs_epi16(filled(255), filled(127))) == 32767,
              "maddubs saturates above");
  checks.that(first_word(stand_ins::maddubs_epi16(filled(255), filled(128))) == -32768,
              "maddubs saturates below");
  checks.that(first_word(stand_ins::maddubs_epi16(filled(15), filled(127))) == 3810, "maddubs adds pairs");
  checks.that(first(stand_ins::dpbusd_epi32(filled(0), filled(255), filled(127))) == 129540,
              "dpbusd adds fours");
  checks.that(first(stand_ins::dpbusd_epi32(filled(0), filled(255), filled(128))) == -130560,
              "dpbusd: signed factor");
  checks.that(first(stand_ins::dpbusd_epi32(filled(127), filled(255), filled(127))) == 0x7f7f7f7f + 129540,
              "dpbusd adds to the sum");
  checks.that(first(stand_ins::madd_epi16(filled(255), filled(2))) == -2 * 0x0202, "madd adds pairs");
  const __m512 nan = stand_ins::set1_ps(__builtin_nanf("")), one = stand_ins::set1_ps(1.0f);
  checks.that(stand_ins::cmp_ge_oq_ps_mask(one, one) == 0xffff, "one is at least one");
  checks.that(stand_ins::cmp_ge_oq_ps_mask(nan, one) == 0 && stand_ins::cmp_ge_oq_ps_mask(one, nan) == 0,
              "no number is at least anything");
}

#if defined(__AVX2__)

template <class Vector>
Bytes bytes_of(const Vector& vector) {
  Bytes out;
  std::memcpy(out.data(), &vector, sizeof(vector));
  return out;
}

#if defined(__AVX512F__)

Bytes machine_madd(const Operands& x) { return bytes_of(_mm512_madd_epi16(x.integers(0), x.integers(1))); }
Bytes machine_maddubs(const Operands& x) {
  return bytes_of(_mm512_maddubs_epi16(x.integers(0), x.integers(1)));
}
Bytes machine_fmadd(const Operands& x) {
  return bytes_of(_mm512_fmadd_ps(x.floats(0), x.floats(1), x.floats(2)));
}
unsigned machine_compare(const Operands& x) {
  return _mm512_cmp_ps_mask(x.floats(0), x.floats(1), _CMP_GE_OQ);
}
Bytes machine_load(unsigned mask, const float* from) {
  return bytes_of(_mm512_maskz_loadu_ps(__mmask16(mask), from));
}
void machine_store(float* to, unsigned mask, __m512 x) { _mm512_mask_storeu_ps(to, __mmask16(mask), x); }

#else

template <class Vector, class F>
Bytes by_halves(const Operands& operands, const F& f) {
  Bytes out;
  for (int half = 0; half < 2; ++half) {
    const auto part = [&](int i) { return operands.get<Vector>(i, half * 32); };
    const Vector result = f(part(0), part(1), part(2));
    std::memcpy(out.data() + half * 32, &result, 32);
  }
  return out;
}

Bytes machine_madd(const Operands& x) {
  return by_halves<__m256i>(x, [](__m256i a, __m256i b, __m256i) { return _mm256_madd_epi16(a, b); });
}
Bytes machine_maddubs(const Operands& x) {
  return by_halves<__m256i>(x, [](__m256i a, __m256i b, __m256i) { return _mm256_maddubs_epi16(a, b); });
}
Bytes machine_fmadd(const Operands& x) {
  return by_halves<__m256>(x, [](__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); });
}
unsigned machine_compare(const Operands& x) {
  unsigned mask = 0;
  for (int half = 0; half < 2; ++half) {
    const __m256 a = x.get<__m256>(0, half * 32), b = x.get<__m256>(1, half * 32);
    mask |= unsigned(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ))) << 8 * half;
  }
  return mask;
}

__m256i lanes_of(unsigned mask) {
  return _mm256_cmpgt_epi32(
      _mm256_and_si256(_mm256_set1_epi32(int(mask)), _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128)),
      _mm256_setzero_si256());
}
Bytes machine_load(unsigned mask, const float* from) {
  Bytes out;
  for (int half = 0; half < 2; ++half) {
    const __m256 loaded = _mm256_maskload_ps(from + 8 * half, lanes_of(mask >> 8 * half));
    std::memcpy(out.data() + half * 32, &loaded, 32);
  }
  return out;
}
void machine_store(float* to, unsigned mask, __m512 x) {
  const Bytes bytes = bytes_of(x);
  for (int half = 0; half < 2; ++half) {
    __m256 part;
    std::memcpy(&part, bytes.data() + half * 32, 32);
    _mm256_maskstore_ps(to + 8 * half, lanes_of(mask >> 8 * half), part);
  }
}

#endif

#if defined(__AVX512VNNI__)
Bytes machine_dpbusd(const Operands& x) {
  return bytes_of(_mm512_dpbusd_epi32(x.integers(2), x.integers(0), x.integers(1)));
}
#else
// Products of bytes as 16-bit numbers, which madd adds in 32 bits.
Bytes machine_dpbusd(const Operands& x) {
  Bytes out;
  for (int part = 0; part < 4; ++part) {
    const __m256i products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(x.get<__m128i>(0, part * 16)),
                                               _mm256_cvtepi8_epi16(x.get<__m128i>(1, part * 16)));
    const __m128i pairs =
        _mm_hadd_epi32(_mm256_castsi256_si128(products), _mm256_extracti128_si256(products, 1));
    const __m128i sum = _mm_add_epi32(x.get<__m128i>(2, part * 16), pairs);
    std::memcpy(out.data() + part * 16, &sum, 16);
  }
  return out;
}
#endif

void check_integers(Checks& checks, const Operands& x) {
  checks.that(bytes_of(stand_ins::madd_epi16(x.integers(0), x.integers(1))) == machine_madd(x), "madd");
  checks.that(bytes_of(stand_ins::maddubs_epi16(x.integers(0), x.integers(1))) == machine_maddubs(x),
              "maddubs");
  checks.that(
      bytes_of(stand_ins::dpbusd_epi32(x.integers(2), x.integers(0), x.integers(1))) == machine_dpbusd(x),
      "dpbusd");
}

void check_floats(Checks& checks, const Operands& x, unsigned mask) {
  checks.that(
      same_numbers(bytes_of(stand_ins::fmadd_ps(x.floats(0), x.floats(1), x.floats(2))), machine_fmadd(x)),
      "fmadd");
  checks.that(stand_ins::cmp_ge_oq_ps_mask(x.floats(0), x.floats(1)) == machine_compare(x), "cmp_ge");
  float values[16], ours[16], theirs[16];
  std::memcpy(values, x.bytes[1].data(), sizeof(values));
  checks.that(bytes_of(stand_ins::maskz_loadu_ps(__mmask16(mask), values)) == machine_load(mask, values),
              "maskz_loadu");
  std::memcpy(ours, values, sizeof(values));
  std::memcpy(theirs, values, sizeof(values));
  stand_ins::mask_storeu_ps(ours, __mmask16(mask), x.floats(2));
  machine_store(theirs, mask, x.floats(2));
  checks.same_bits("mask_storeu", ours, theirs, sizeof(ours));
}

#endif

}  // namespace

void test_stand_ins(Checks& checks) {
  check_known_answers(checks);
#if defined(__AVX2__)
  Random random(11);
  for (int repeat = 0; repeat < 5000; ++repeat) {
    checks.about("random operands %d", repeat);
    check_integers(checks, Operands::of_integers(random));
    check_floats(checks, Operands::of_floats(random), unsigned(random.next() & 0xffff));
  }
#endif
}

}  // namespace pararnn
