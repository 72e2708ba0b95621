// What a scan reads, as float32. Widening bfloat16 is exact.
#pragma once

#include <cstdint>
#include <cstring>

#include "../host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

struct BFloat16 {
  uint16_t bits;
};

PARARNN_HD float widen(float x) { return x; }

PARARNN_HD float widen(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float out;
  memcpy(&out, &bits, sizeof(out));
  return out;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
