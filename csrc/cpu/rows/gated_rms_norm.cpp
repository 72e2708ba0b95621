#include "cpu/rows/norm.h"
#include "cpu/simd/vector_math.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// norm(y * silu(gate)): the gated row waits in `out` for its scale.
void gate_then_norm(const GatedRmsNormParams& p, const float* y, const float* gate, float* out) {
  SquareSum squares;
  for (int64_t i = 0; i < p.width; i += kLanes) {
    const int64_t left = p.width - i;
    const Vec gated = load(y + i, left) * silu(load(gate + i, left));
    squares.add(i, gated);
    store(out + i, gated, left);
  }
  const Vec scale = squares.scale(p.width, p.eps);
  for (int64_t i = 0; i < p.width; i += kLanes) {
    const int64_t left = p.width - i;
    store(out + i, load(out + i, left) * scale * load(p.weight + i, left), left);
  }
}

// norm(y) * silu(gate)
void norm_then_gate(const GatedRmsNormParams& p, const float* y, const float* gate, float* out) {
  SquareSum squares;
  for (int64_t i = 0; i < p.width; i += kLanes) squares.add(i, load(y + i, p.width - i));
  const Vec scale = squares.scale(p.width, p.eps);
  for (int64_t i = 0; i < p.width; i += kLanes) {
    const int64_t left = p.width - i;
    const Vec normed = load(y + i, left) * scale * load(p.weight + i, left);
    store(out + i, normed * silu(load(gate + i, left)), left);
  }
}

}  // namespace

void gated_rms_norm(const GatedRmsNormParams& p) {
  const auto run = p.order == GateOrder::kGateThenNorm ? gate_then_norm : norm_then_gate;
  parallel_lots(p.rows, p.width, [&](int64_t row) {
    run(p, p.y + row * p.width, static_cast<const float*>(p.gate) + row * p.gate_stride,
        static_cast<float*>(p.out) + row * p.width);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
