// Sampling keeps subnormal numbers: a tiny temperature or logit means what it means in NumPy.
#pragma once

#include "math/host_device.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pararnn {
namespace PARARNN_ISA {

// While it lives, its thread neither flushes subnormals nor takes them for zero.
class GradualUnderflow {
 public:
#if defined(__x86_64__)
  PARARNN_HD GradualUnderflow() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  PARARNN_HD ~GradualUnderflow() { _mm_setcsr(saved_); }

 private:
  const unsigned saved_;
#elif defined(__aarch64__)
  PARARNN_HD GradualUnderflow() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(uint64_t(0)));
  }
  PARARNN_HD ~GradualUnderflow() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  uint64_t saved_;
#endif
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
