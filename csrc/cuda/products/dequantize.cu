#include "cuda/launch.cuh"
#include "cuda/products/dequantize.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

template <int kBits, class Out>
__global__ void __launch_bounds__(kDequantizeThreads) dequantize(DequantizeParams p) {
  dequantize_block<kBits, Out>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void dequantize_cuda(const DequantizeParams& params, void* stream) {
  using namespace PARARNN_ISA;
  for_dequantize(params, [&](auto bits, auto out) {
    launch("dequantize", dequantize<decltype(bits)::value, decltype(out)>, dequantize_blocks(params),
           kDequantizeThreads, stream, params);
  });
}

}  // namespace pararnn
