// Philox 4x32 with ten rounds; reference: pararnn_core/rng.py.
#pragma once

#include <cstdint>

#include "math/host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kUniformBits = 53;

// The random number of (seed, choice, index), times 2^53.
PARARNN_HD uint64_t uniform_bits(int64_t seed, int64_t choice, int64_t index) {
  uint32_t c0 = uint32_t(index), c1 = uint32_t(uint64_t(index) >> 32), c2 = uint32_t(choice), c3 = 0;
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(uint64_t(seed) >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t even = uint64_t(0xD2511F53u) * c0, odd = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(odd >> 32) ^ c1 ^ k0;
    c1 = uint32_t(odd);
    c2 = uint32_t(even >> 32) ^ c3 ^ k1;
    c3 = uint32_t(even);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return (uint64_t(c1) << 32 | c0) >> (64 - kUniformBits);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
