#include "cuda/launch.cuh"
#include "cuda/sampling/sample.cuh"
#include "kernels.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 512;

__global__ void __launch_bounds__(kThreads) sample(SampleParams p) { sample_block<kThreads>(p); }

}  // namespace
}  // namespace PARARNN_ISA

void sample_cuda(const SampleParams& params, void* stream) {
  using namespace PARARNN_ISA;
  launch("sample", sample, params.rows, kThreads, stream, params);
}

}  // namespace pararnn
