#include "cuda/launch.cuh"
#include "cuda/rows/add_rms_norm.cuh"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 128;
constexpr int kPack = 4;

template <class Update, class Out, int kCount>
__global__ void __launch_bounds__(kThreads) add_rms_norm(AddRmsNormParams p) {
  add_rms_norm_block<Update, Out, kCount, kThreads>(p);
}

}  // namespace
}  // namespace PARARNN_ISA

void add_rms_norm_cuda(const AddRmsNormParams& p, void* stream) {
  using namespace PARARNN_ISA;
  for_scalar(p.update_dtype, [&](auto update) {
    for_scalar(p.out_dtype, [&](auto out) {
      const auto kernel = moves_packs(p, kPack) ? add_rms_norm<decltype(update), decltype(out), kPack>
                                                : add_rms_norm<decltype(update), decltype(out), 1>;
      launch("add_rms_norm", kernel, p.rows, kThreads, stream, p);
    });
  });
}

}  // namespace pararnn
