#include "launch.cuh"
#include "linear_scan.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 256;  // eight channels: rows of 32 bytes, the least that memory hands out

template <int kStates, bool kReverse>
__global__ void __launch_bounds__(kThreads) linear_scan(LinearScanParams p) {
  linear_scan_block<kStates, kReverse, kThreads>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void linear_scan_cuda(const LinearScanParams& params, void* stream) {
  using namespace PARARNN_ISA;
  const auto kernel = params.states == 1 ? (params.reverse ? linear_scan<1, true> : linear_scan<1, false>)
                                         : (params.reverse ? linear_scan<2, true> : linear_scan<2, false>);
  launch("linear_scan", kernel, params.sequences.count * channel_groups<kThreads>(params.channels), kThreads,
         stream, params);
}

}  // namespace pararnn
