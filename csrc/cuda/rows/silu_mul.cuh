// The product in the middle of the MLP. A thread has a pack of elements; nobody meets anybody.
#pragma once

#include "cuda/rows/pack.cuh"
#include "math/scalar_math.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

template <int kPack, int kThreads>
int64_t silu_mul_blocks(const SiluMulParams& p) {
  constexpr int64_t kStep = int64_t(kThreads) * kPack;
  return (p.rows * p.width + kStep - 1) / kStep;
}

inline bool moves_packs(const SiluMulParams& p, int64_t count) {
  const int64_t size = p.rows * p.width;
  return lie_in_packs(p.gate, p.dtype, size, count) && lie_in_packs(p.up, p.dtype, size, count) &&
         lie_in_packs(p.out, p.dtype, size, count);
}

template <class Scalar, int kPack, int kThreads>
PARARNN_DEVICE void silu_mul_block(const SiluMulParams& p) {
  const int64_t at = (block_index() * kThreads + thread_index()) * kPack;
  if (at >= p.rows * p.width) return;
  Floats<kPack> values = load_pack<kPack>(static_cast<const Scalar*>(p.gate) + at);
  const Floats<kPack> up = load_pack<kPack>(static_cast<const Scalar*>(p.up) + at);
  PARARNN_UNROLL
  for (int k = 0; k < kPack; ++k) values.at[k] = silu(values.at[k]) * up.at[k];
  store_pack(values, static_cast<Scalar*>(p.out) + at);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
