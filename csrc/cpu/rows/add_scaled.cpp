#include "cpu/simd/simd.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

void add_scaled(const AddScaledParams& p) {
  const Vec scale(p.scale == nullptr ? 1.0f : *p.scale);
  parallel_lots(ceil_div(p.size, kLanes), kLanes, [&](int64_t part) {
    const int64_t i = part * kLanes, left = p.size - i;
    store(p.out + i, madd(load(p.x + i, left), scale, load(p.y + i, left)), left);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
