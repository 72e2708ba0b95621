// Force-included before a kernel: the compiler then takes the paths of AVX-512 (with VNNI where
// PARARNN_EMULATE_VNNI is defined), and the instructions they use are the stand-ins. It is not told that the
// machine has AVX-512: an instruction without a stand-in is a compile error.
#pragma once

#include "avx512_stand_ins.h"

#if !defined(__AVX2__)
#define __AVX2__ 1
#define __FMA__ 1
#define __F16C__ 1
#endif
#define __AVX512F__ 1
#define __AVX512BW__ 1
#define __AVX512VL__ 1
#define __AVX512DQ__ 1
#if defined(PARARNN_EMULATE_VNNI)
#define __AVX512VNNI__ 1
#endif

#undef _mm512_cmp_ps_mask  // a macro where the compiler does not optimise
#define _mm512_cmp_ps_mask(x, y, comparison)                                        \
  ([](__m512 left, __m512 right) __attribute__((always_inline)) {                   \
    static_assert((comparison) == _CMP_GE_OQ, "a comparison that has no stand-in"); \
    return pararnn::stand_ins::cmp_ge_oq_ps_mask(left, right);                      \
  }((x), (y)))
#define _mm512_dpbusd_epi32 pararnn::stand_ins::dpbusd_epi32
#define _mm512_fmadd_ps pararnn::stand_ins::fmadd_ps
#define _mm512_madd_epi16 pararnn::stand_ins::madd_epi16
#define _mm512_maddubs_epi16 pararnn::stand_ins::maddubs_epi16
#define _mm512_mask_storeu_ps pararnn::stand_ins::mask_storeu_ps
#define _mm512_maskz_loadu_ps pararnn::stand_ins::maskz_loadu_ps
#define _mm512_set1_epi16 pararnn::stand_ins::set1_epi16
#define _mm512_set1_ps pararnn::stand_ins::set1_ps
