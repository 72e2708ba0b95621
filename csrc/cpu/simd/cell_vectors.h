// Loading and storing the values of one step for one vector of channels.
#pragma once

#include "cpu/simd/vector_math.h"
#include "math/cell_math.h"

namespace pararnn {
namespace PARARNN_ISA {

// rows[i] = base[i * stride], `count` channels of it.
template <int Rows>
PARARNN_HD void load_rows(Vec (&rows)[Rows], int used, const float* base, int64_t stride, int64_t count) {
  for (int i = 0; i < used; ++i) rows[i] = load(base + i * stride, count);
}

template <int Rows>
PARARNN_HD void store_rows(const Vec (&rows)[Rows], int used, float* base, int64_t stride, int64_t count) {
  for (int i = 0; i < used; ++i) store(base + i * stride, rows[i], count);
}

template <class Cell, class Out>
PARARNN_HD void take_state(Vec (&state)[Cell::kStates], const Out& out) {
  state[0] = value_of(out.get(Index<0>()));
  if constexpr (Cell::kStates == 2) state[1] = value_of(out.get(Index<1>()));
}

template <class Cell>
PARARNN_HD void load_parameters(StepValues<Cell, Vec>& values, const float* a, const float* c,
                                int64_t channels, int64_t count) {
  load_rows(values.a, Cell::kRecurrent, a, channels, count);
  if constexpr (Cell::kPeepholes > 0) load_rows(values.peephole, Cell::kPeepholes, c, channels, count);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
