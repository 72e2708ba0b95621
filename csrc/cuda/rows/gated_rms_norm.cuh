// The RMSNorm of a cell's output, which its gate opens before or after. A block has a row.
#pragma once

#include "cuda/rows/row_norm.cuh"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

template <class Scalar, GateOrder kOrder, int kPack>
struct GatedRow {
  const float* y;
  const Scalar* gate;
  const float* weight;
  Scalar* out;

  PARARNN_DEVICE Floats<kPack> opened(int64_t i, Floats<kPack> values) const {
    const Floats<kPack> gates = load_pack<kPack>(gate + i);
    PARARNN_UNROLL
    for (int k = 0; k < kPack; ++k) values.at[k] *= silu(gates.at[k]);
    return values;
  }

  PARARNN_DEVICE Floats<kPack> take(int64_t i) const {
    const Floats<kPack> values = load_pack<kPack>(y + i);
    return kOrder == GateOrder::kGateThenNorm ? opened(i, values) : values;
  }

  PARARNN_DEVICE void keep(int64_t, const Floats<kPack>&) const {}
  PARARNN_DEVICE Floats<kPack> take_again(int64_t i) const { return take(i); }

  PARARNN_DEVICE void finish(int64_t i, Floats<kPack> values, float scale) const {
    const Floats<kPack> weights = load_pack<kPack>(weight + i);
    PARARNN_UNROLL
    for (int k = 0; k < kPack; ++k) values.at[k] *= scale * weights.at[k];
    store_pack(kOrder == GateOrder::kNormThenGate ? opened(i, values) : values, out + i);
  }
};

inline bool moves_packs(const GatedRmsNormParams& p, int64_t count) {
  return lie_in_packs(p.y, DType::kFloat32, p.width, count) &&
         lie_in_packs(p.gate, p.dtype, p.gate_stride, count) &&
         lie_in_packs(p.weight, DType::kFloat32, p.width, count) &&
         lie_in_packs(p.out, p.dtype, p.width, count);
}

template <class Scalar, GateOrder kOrder, int kPack, int kThreads>
PARARNN_DEVICE void gated_rms_norm_block(const GatedRmsNormParams& p) {
  const int64_t row = block_index();
  const GatedRow<Scalar, kOrder, kPack> values{p.y + row * p.width,
                                               static_cast<const Scalar*>(p.gate) + row * p.gate_stride,
                                               p.weight, static_cast<Scalar*>(p.out) + row * p.width};
  normalise_row<kThreads, kPack>(values, p.width, p.eps);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
