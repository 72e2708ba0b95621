#include "cuda/launch.cuh"
#include "cuda/scans/sequential_scan.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 128;

template <class Cell, class Scalar>
__global__ void __launch_bounds__(kThreads) sequential_scan(RecurrenceParams p) {
  sequential_scan_block<Cell, Scalar, kThreads>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void sequential_scan_cuda(const RecurrenceParams& params, void* stream) {
  using namespace PARARNN_ISA;
  for_types_of(params, [&](auto cell, auto scalar) {
    launch("sequential_scan", sequential_scan<decltype(cell), decltype(scalar)>,
           sequential_scan_blocks<kThreads>(params), kThreads, stream, params);
  });
}

}  // namespace pararnn
