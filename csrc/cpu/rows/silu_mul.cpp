#include "cpu/simd/vector_math.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

void silu_mul(const SiluMulParams& p) {
  parallel_lots(p.rows, p.width, [&](int64_t row) {
    const float* const gate = static_cast<const float*>(p.gate) + row * p.gate_stride;
    const float* const up = static_cast<const float*>(p.up) + row * p.up_stride;
    float* const out = static_cast<float*>(p.out) + row * p.width;
    for (int64_t i = 0; i < p.width; i += kLanes) {
      const int64_t left = p.width - i;
      store(out + i, silu(load(gate + i, left)) * load(up + i, left), left);
    }
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
