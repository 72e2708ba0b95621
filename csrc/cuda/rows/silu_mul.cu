#include "cuda/launch.cuh"
#include "cuda/rows/silu_mul.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 256;

template <class Scalar, int kCount>
__global__ void __launch_bounds__(kThreads) silu_mul(SiluMulParams p) {
  silu_mul_block<Scalar, kCount, kThreads>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void silu_mul_cuda(const SiluMulParams& p, void* stream) {
  using namespace PARARNN_ISA;
  for_scalar(p.dtype, [&](auto scalar) {
    constexpr int kPack = 16 / sizeof(scalar);
    moves_packs(p, kPack) ? launch("silu_mul", silu_mul<decltype(scalar), kPack>,
                                   silu_mul_blocks<kPack, kThreads>(p), kThreads, stream, p)
                          : launch("silu_mul", silu_mul<decltype(scalar), 1>, silu_mul_blocks<1, kThreads>(p),
                                   kThreads, stream, p);
  });
}

}  // namespace pararnn
