#include "cuda/launch.cuh"
#include "cuda/scans/newton_scan.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// With a warp to a channel a row of a tile is 32 bytes of bx, the least that memory hands out. Teams of more
// are as many as registers let into a block; then rows are shorter, down to 8 bytes of bfloat16 for four
// warps, and what one block leaves of the 32 its neighbours find in the cache.
template <class Scalar, int kTimeWarps>
constexpr int kThreads = kTimeWarps == 1 ? 32 / int(sizeof(Scalar)) * kWarp : 512;

template <class Cell, class Scalar, int kTimeWarps>
__global__ void __launch_bounds__(kThreads<Scalar, kTimeWarps>) newton_scan(NewtonParams p) {
  newton_scan_block<Cell, Scalar, BlockOf<kThreads<Scalar, kTimeWarps>, kTimeWarps>>(p);
}

template <class Cell, class Scalar, int kTimeWarps>
void start(const NewtonParams& p, void* stream) {
  constexpr int kBlock = kThreads<Scalar, kTimeWarps>;
  launch("newton_scan", newton_scan<Cell, Scalar, kTimeWarps>,
         p.scan.sequences.count * BlockOf<kBlock, kTimeWarps>::groups(p.scan.channels), kBlock, stream, p);
}

// The most with which all channels are on the chip at once: registers let about 16 warps onto a
// multiprocessor.
int32_t filling_time_warps(const RecurrenceParams& p) {
  constexpr int64_t kWarpsOfMultiprocessor = 16;
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "newton_scan");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "newton_scan");
  int32_t warps = 4;
  while (warps > 1 && p.sequences.count * p.channels * warps > kWarpsOfMultiprocessor * multiprocessors)
    warps /= 2;
  return warps;
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
    using Cell = decltype(cell);
    using Scalar = decltype(scalar);
    switch (params.time_warps == 0 ? filling_time_warps(params.scan) : params.time_warps) {
      case 1:
        return start<Cell, Scalar, 1>(params, stream);
      case 2:
        return start<Cell, Scalar, 2>(params, stream);
      default:
        return start<Cell, Scalar, 4>(params, stream);
    }
  });
}

}  // namespace pararnn
