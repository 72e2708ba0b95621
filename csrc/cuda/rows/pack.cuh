// Neighbouring elements that a thread moves in one access, where they lie on a multiple of their size.
#pragma once

#include "cuda/block.cuh"
#include "cuda/widen.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// As they are in memory.
template <class Scalar, int kCount>
struct alignas(sizeof(Scalar) * kCount) Pack {
  Scalar at[kCount];
};

// In registers.
template <int kCount>
struct Floats {
  float at[kCount];
};

template <int kCount, class Scalar>
PARARNN_DEVICE Floats<kCount> load_pack(const Scalar* from) {
  const auto pack = *reinterpret_cast<const Pack<Scalar, kCount>*>(from);
  Floats<kCount> out;
  PARARNN_UNROLL
  for (int i = 0; i < kCount; ++i) out.at[i] = widen(pack.at[i]);
  return out;
}

template <int kCount, class Scalar>
PARARNN_DEVICE void store_pack(const Floats<kCount>& values, Scalar* to) {
  Pack<Scalar, kCount> pack;
  PARARNN_UNROLL
  for (int i = 0; i < kCount; ++i) pack.at[i] = narrow_to<Scalar>(values.at[i]);
  if constexpr (kCount == 1) {
    *to = pack.at[0];
  } else {
    Words<int(sizeof(pack) / sizeof(uint32_t))> words;
    memcpy(&words, &pack, sizeof(pack));
    store_words(reinterpret_cast<decltype(words)*>(to), words);
  }
}

// Whether rows `stride` elements apart may be moved `count` elements at a time.
inline bool lie_in_packs(const void* rows, DType dtype, int64_t stride, int64_t count) {
  const int64_t bytes = count * (dtype == DType::kFloat32 ? 4 : 2);
  return reinterpret_cast<uintptr_t>(rows) % uintptr_t(bytes) == 0 && stride % count == 0;
}

// Calls run(scalar) with a value of that type.
template <class Run>
void for_scalar(DType dtype, const Run& run) {
  dtype == DType::kFloat32 ? run(0.0f) : run(BFloat16{});
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
