// The cells in float64, after the formulas of the documentation and apart from csrc/math/cell_math.h.
#pragma once

#include <cmath>
#include <vector>

#include "params/params.h"

namespace pararnn {

constexpr int64_t gates_of(CellKind cell) { return sizes_of(cell).gates; }
constexpr int64_t states_of(CellKind cell) { return sizes_of(cell).states; }
constexpr int64_t peepholes_of(CellKind cell) { return sizes_of(cell).peepholes; }
constexpr int64_t recurrent_of(CellKind cell) { return sizes_of(cell).recurrent; }

// Room for the gates, states or peepholes of a channel of any cell.
constexpr int kMostRows = 4;

// One channel: bx (G); a (R); c (P); state (N), of an LSTM c and h. Moves the state on.
inline void reference_step(CellKind cell, const double* bx, const double* a, const double* c, double* state) {
  const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  if (cell == CellKind::kGru) {
    const double h = state[0];
    const double z = sigmoid(a[0] * h + bx[0]), r = sigmoid(a[1] * h + bx[1]);
    const double n = std::tanh(a[2] * (h * r) + bx[2]);
    state[0] = (1.0 - z) * h + z * n;
    return;
  }
  if (cell == CellKind::kNlru) {
    const double h = state[0], gate = sigmoid(bx[0]);
    state[0] = gate * h + (1.0 - gate) * std::tanh(a[0] * h + bx[1]);
    return;
  }
  if (cell == CellKind::kMinGru) {
    const double z = sigmoid(bx[0]);
    state[0] = (1.0 - z) * state[0] + z * bx[1];
    return;
  }
  const double memory = state[0], h = state[1];
  const double f = sigmoid(a[0] * h + c[0] * memory + bx[0]), g = std::tanh(a[2] * h + bx[2]);
  state[0] = f * memory + (1.0 - f) * g;
  const double o = sigmoid(a[1] * h + c[1] * state[0] + bx[1]);
  state[1] = o * std::tanh(state[0]);
}

}  // namespace pararnn
