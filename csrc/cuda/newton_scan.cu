#include "launch.cuh"
#include "newton_scan.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// A row of a tile is 32 bytes of bx, the least that memory hands out.
template <class Scalar>
constexpr int kThreads = 32 / int(sizeof(Scalar)) * kWarp;

template <class Cell, class Scalar>
__global__ void __launch_bounds__(kThreads<Scalar>) newton_scan(NewtonParams p) {
  newton_scan_block<Cell, Scalar, kThreads<Scalar>>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void newton_scan_cuda(const NewtonParams& params, void* stream) {
  using namespace PARARNN_ISA;
  const int64_t count = params.scan.sequences.count;
  for (void* const counts : {static_cast<void*>(params.residual), static_cast<void*>(params.iterations),
                             static_cast<void*>(params.fallbacks)}) {
    check(cudaMemsetAsync(counts, 0, size_t(count) * sizeof(int32_t), static_cast<cudaStream_t>(stream)),
          "newton_scan");
  }
  for_types_of(params.scan, [&](auto cell, auto scalar) {
    using Scalar = decltype(scalar);
    launch("newton_scan", newton_scan<decltype(cell), Scalar>,
           count * channel_groups<kThreads<Scalar>>(params.scan.channels), kThreads<Scalar>, stream, params);
  });
}

}  // namespace pararnn
