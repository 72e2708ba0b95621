// The residual stream's sum with what a product gave, in place, and its RMSNorm for the next product. A block
// has a row, and only the thread that writes an element of x reads it.
#pragma once

#include "cuda/rows/row_norm.cuh"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

template <class Update, class Out, int kPack>
struct StreamRow {
  StreamUpdate kind;
  float factor;
  float* x;
  const Update* update;
  const float* weight;
  Out* out;

  PARARNN_DEVICE Floats<kPack> take(int64_t i) const {
    if (kind == StreamUpdate::kNone) return take_again(i);
    Floats<kPack> values = load_pack<kPack>(update + i);
    if (kind == StreamUpdate::kAdd) {
      const Floats<kPack> stream = load_pack<kPack>(x + i);
      PARARNN_UNROLL
      for (int k = 0; k < kPack; ++k) values.at[k] = madd(factor, stream.at[k], values.at[k]);
    }
    return values;
  }

  PARARNN_DEVICE void keep(int64_t i, const Floats<kPack>& values) const {
    if (kind != StreamUpdate::kNone) store_pack(values, x + i);
  }

  PARARNN_DEVICE Floats<kPack> take_again(int64_t i) const { return load_pack<kPack>(x + i); }

  PARARNN_DEVICE void finish(int64_t i, Floats<kPack> values, float scale) const {
    const Floats<kPack> weights = load_pack<kPack>(weight + i);
    PARARNN_UNROLL
    for (int k = 0; k < kPack; ++k) values.at[k] *= scale * weights.at[k];
    store_pack(values, out + i);
  }
};

inline bool moves_packs(const AddRmsNormParams& p, int64_t count) {
  return lie_in_packs(p.x, DType::kFloat32, p.width, count) &&
         lie_in_packs(p.update, p.update_dtype, p.width, count) &&
         lie_in_packs(p.weight, DType::kFloat32, p.width, count) &&
         lie_in_packs(p.out, p.out_dtype, p.width, count);
}

template <class Update, class Out, int kPack, int kThreads>
PARARNN_DEVICE void add_rms_norm_block(const AddRmsNormParams& p) {
  const int64_t at = block_index() * p.width;
  const StreamRow<Update, Out, kPack> row{
      p.kind,   p.scale == nullptr ? 1.0f : p.scale[0],
      p.x + at, p.update == nullptr ? nullptr : static_cast<const Update*>(p.update) + at,
      p.weight, static_cast<Out*>(p.out) + at};
  normalise_row<kThreads, kPack>(row, p.width, p.eps);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
