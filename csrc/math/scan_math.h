// Affine maps x -> matrix x + offset of N numbers, and what a scan needs of them.
#pragma once

#include "math/scalar_math.h"

namespace pararnn {
namespace PARARNN_ISA {

template <class V, int N>
struct Affine {
  V matrix[N][N];
  V offset[N];
};

// What map makes of x.
template <class V, int N>
PARARNN_HD void apply(const Affine<V, N>& map, const V (&x)[N], V (&out)[N]) {
  for (int i = 0; i < N; ++i) {
    out[i] = map.offset[i];
    for (int j = 0; j < N; ++j) out[i] = madd(map.matrix[i][j], x[j], out[i]);
  }
}

// The map that is first `earlier`, then `later`.
template <class V, int N>
PARARNN_HD Affine<V, N> compose(const Affine<V, N>& later, const Affine<V, N>& earlier) {
  Affine<V, N> out;
  apply(later, earlier.offset, out.offset);
  for (int i = 0; i < N; ++i) {
    for (int j = 0; j < N; ++j) {
      out.matrix[i][j] = later.matrix[i][0] * earlier.matrix[0][j];
      for (int k = 1; k < N; ++k)
        out.matrix[i][j] = madd(later.matrix[i][k], earlier.matrix[k][j], out.matrix[i][j]);
    }
  }
  return out;
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
