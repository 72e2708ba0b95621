#include "cuda/launch.cuh"
#include "cuda/rows/gated_rms_norm.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 128;
constexpr int kPack = 4;

template <class Scalar, GateOrder kOrder, int kCount>
__global__ void __launch_bounds__(kThreads) gated_rms_norm(GatedRmsNormParams p) {
  gated_rms_norm_block<Scalar, kOrder, kCount, kThreads>(p);
}

template <class Scalar, GateOrder kOrder>
void start(const GatedRmsNormParams& p, void* stream) {
  const auto kernel =
      moves_packs(p, kPack) ? gated_rms_norm<Scalar, kOrder, kPack> : gated_rms_norm<Scalar, kOrder, 1>;
  launch("gated_rms_norm", kernel, p.rows, kThreads, stream, p);
}

}  // namespace
}  // namespace PARARNN_ISA

void gated_rms_norm_cuda(const GatedRmsNormParams& p, void* stream) {
  using namespace PARARNN_ISA;
  for_scalar(p.dtype, [&](auto scalar) {
    p.order == GateOrder::kGateThenNorm ? start<decltype(scalar), GateOrder::kGateThenNorm>(p, stream)
                                        : start<decltype(scalar), GateOrder::kNormThenGate>(p, stream);
  });
}

}  // namespace pararnn
