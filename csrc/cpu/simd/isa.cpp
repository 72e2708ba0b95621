#include "cpu/simd/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pararnn {
namespace {

#if defined(__x86_64__)

// Register state that the operating system saves: bits of XCR0.
unsigned saved_state() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool all(unsigned word, unsigned mask) { return (word & mask) == mask; }

std::vector<IsaLevel> detect() {
  std::vector<IsaLevel> levels{IsaLevel::kBaseline};
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !all(ecx, bit_OSXSAVE)) return levels;
  const unsigned features1 = ecx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return levels;
  constexpr unsigned kYmmState = 0x6, kZmmState = 0xe6;
  const unsigned state = saved_state();
  if (!all(state, kYmmState) || !all(features1, bit_AVX | bit_FMA | bit_F16C) || !all(ebx, bit_AVX2))
    return levels;
  levels.push_back(IsaLevel::kAvx2);
  if (!all(state, kZmmState) || !all(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ))
    return levels;
  levels.push_back(IsaLevel::kAvx512);
  if (all(ecx, bit_AVX512VNNI)) levels.push_back(IsaLevel::kAvx512Vnni);
  return levels;
}

#else

std::vector<IsaLevel> detect() { return {IsaLevel::kGeneric}; }

#endif

IsaLevel choose() {
  const std::vector<IsaLevel> levels = detect();
  const char* const wanted = std::getenv("PARARNN_ISA");
  if (wanted == nullptr || *wanted == '\0') return levels.back();
  for (const IsaLevel level : levels) {
    if (std::string(wanted) == isa_name(level)) return level;
  }
  throw std::runtime_error("PARARNN_ISA=" + std::string(wanted) + ": this machine has " +
                           available_isa_levels());
}

}  // namespace

IsaLevel isa_level() {
  static const IsaLevel level = choose();
  return level;
}

const char* isa_name(IsaLevel level) {
  switch (level) {
    case IsaLevel::kAvx512Vnni:
      return "avx512vnni";
    case IsaLevel::kAvx512:
      return "avx512";
    case IsaLevel::kAvx2:
      return "avx2";
    case IsaLevel::kBaseline:
      return "baseline";
    default:
      return "generic";
  }
}

std::string available_isa_levels() {
  std::string names;
  for (const IsaLevel level : detect()) names += (names.empty() ? "" : ",") + std::string(isa_name(level));
  return names;
}

}  // namespace pararnn
