// The floating-point mode of every kernel thread: round to nearest, denormals are zero, nothing traps.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pararnn {

// Sets the mode and gives the thread its own back.
class FloatMode {
 public:
  FloatMode() : saved_(read()) { write(kKernelMode); }
  ~FloatMode() { write(saved_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
#if defined(__x86_64__)
  using Word = uint32_t;
  static constexpr Word kKernelMode = 0x9fc0;  // all exceptions masked, DAZ, FTZ
  static Word read() { return _mm_getcsr(); }
  static void write(Word mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kKernelMode = 1u << 24;  // FZ
  static Word read() {
    Word mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(Word mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Word = uint32_t;
  static constexpr Word kKernelMode = 0;
  static Word read() { return 0; }
  static void write(Word) {}
#endif

  const Word saved_;
};

}  // namespace pararnn
