#include "cuda/launch.cuh"
#include "cuda/scans/causal_conv1d.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 128;
constexpr int kPack = 4;
constexpr int kUsualTaps = 4;

template <class Scalar, class State, int kTaps, int kCount>
__global__ void __launch_bounds__(kThreads) causal_conv1d(CausalConvParams p, int64_t rows) {
  causal_conv1d_block<Scalar, State, kTaps, kCount, kThreads>(p, rows);
}

template <class Scalar, class State, int kCount>
void start(const CausalConvParams& p, void* stream) {
  const int64_t rows = conv_rows_per_thread(p);
  const auto kernel = p.width <= kUsualTaps ? causal_conv1d<Scalar, State, kUsualTaps, kCount>
                                            : causal_conv1d<Scalar, State, int(kMaxConvWidth), kCount>;
  launch("causal_conv1d", kernel, causal_conv1d_blocks<kCount, kThreads>(p, rows), kThreads, stream, p, rows);
}

}  // namespace
}  // namespace PARARNN_ISA

void causal_conv1d_cuda(const CausalConvParams& p, void* stream) {
  using namespace PARARNN_ISA;
  for_scalar(p.dtype, [&](auto scalar) {
    for_scalar(p.state_dtype, [&](auto state) {
      moves_packs(p, kPack) ? start<decltype(scalar), decltype(state), kPack>(p, stream)
                            : start<decltype(scalar), decltype(state), 1>(p, stream);
    });
  });
}

}  // namespace pararnn
