#include "cpu/rows/norm.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

void rms_norm(const RmsNormParams& p) {
  parallel_lots(p.rows, p.width, [&](int64_t row) {
    const float* const x = p.x + row * p.width;
    float* const out = p.out + row * p.width;
    SquareSum squares;
    for (int64_t i = 0; i < p.width; i += kLanes) squares.add(i, load(x + i, p.width - i));
    const Vec scale = squares.scale(p.width, p.eps);
    for (int64_t i = 0; i < p.width; i += kLanes) {
      const int64_t left = p.width - i;
      store(out + i, load(x + i, left) * scale * load(p.weight + i, left), left);
    }
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
