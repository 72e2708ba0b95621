#include "cuda/launch.cuh"
#include "cuda/products/row_product.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// Two blocks at once hide what one waits for, where their registers suffice.
template <int kColumnTiles>
constexpr int kBlocksAtOnce = kColumnTiles == 1 ? 2 : 1;

template <class Format, bool kShared, int kColumnTiles>
__global__ void __launch_bounds__(kProductThreads, kBlocksAtOnce<kColumnTiles>)
    row_product(RowProductParams p) {
  row_product_block<Format, kShared, kColumnTiles>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void row_product_cuda(const RowProductParams& params, void* stream) {
  using namespace PARARNN_ISA;
  if (params.rows == 0) return;
  for_row_product(params, [&](auto format, auto shared, auto tiles) {
    launch("row_product", row_product<decltype(format), decltype(shared)::value, decltype(tiles)::value>,
           row_product_blocks<decltype(tiles)::value>(params.weight.shape), kProductThreads, stream, params);
  });
}

}  // namespace pararnn
