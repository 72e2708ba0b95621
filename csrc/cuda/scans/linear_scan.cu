#include "cuda/launch.cuh"
#include "cuda/scans/linear_scan.cuh"
#include "cuda/scans/linear_steps.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// Eight channels are rows of 32 bytes, the least that memory hands out. The tiles of four of more states are
// what fits into 48 KiB.
template <int kStates>
constexpr int kScanThreads = kStates <= 2 ? 256 : 128;

// One channel alone is one sequence's whole work: as many loads under way as a block can have.
template <int kChannels>
constexpr int kStepThreads = kChannels == 1 ? 1024 : 256;

template <int kStates, bool kReverse>
__global__ void __launch_bounds__(kScanThreads<kStates>) linear_scan(LinearScanParams p) {
  linear_scan_block<kStates, kReverse, kScanThreads<kStates>>(p);
}

template <int kChannels, bool kReverse>
__global__ void __launch_bounds__(kStepThreads<kChannels>) linear_steps(LinearScanParams p) {
  linear_steps_block<kChannels, kReverse, kStepThreads<kChannels>>(p);
}

template <int kStates>
void start_scan(const LinearScanParams& p, void* stream) {
  constexpr int kThreads = kScanThreads<kStates>;
  launch("linear_scan", p.reverse ? linear_scan<kStates, true> : linear_scan<kStates, false>,
         p.sequences.count * BlockOf<kThreads>::groups(p.channels), kThreads, stream, p);
}

template <int kChannels>
void start_steps(const LinearScanParams& p, void* stream) {
  launch("linear_steps", p.reverse ? linear_steps<kChannels, true> : linear_steps<kChannels, false>,
         p.sequences.count * step_groups<kChannels>(p.channels), kStepThreads<kChannels>, stream, p);
}

}  // namespace
}  // namespace PARARNN_ISA

void linear_scan_cuda(const LinearScanParams& params, void* stream) {
  using namespace PARARNN_ISA;
  switch (params.states) {
    case 1:
      return start_scan<1>(params, stream);
    case 2:
      return start_scan<2>(params, stream);
    case 3:
      return start_scan<3>(params, stream);
    case 4:
      return start_scan<4>(params, stream);
    default:
      return params.channels == 1 ? start_steps<1>(params, stream) : start_steps<8>(params, stream);
  }
}

}  // namespace pararnn
