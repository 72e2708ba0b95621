// The cells, written once. An input gives a(i), bx(i), c(i) and h(i) as plain values or as dual numbers; then
// step gives the new state as plain values or with its Jacobian and the partials by every parameter.
#pragma once

#include "math/dual.h"
#include "params/cells.h"

namespace pararnn {
namespace PARARNN_ISA {

template <int I>
struct Index {};

template <class First>
struct State1 {
  First first;
  PARARNN_HD const First& get(Index<0>) const { return first; }
};

template <class First, class Second>
struct State2 {
  First first;
  Second second;
  PARARNN_HD const First& get(Index<0>) const { return first; }
  PARARNN_HD const Second& get(Index<1>) const { return second; }
};

// The sizes of each cell: what its struct derives from.
template <CellKind>
struct CellOf;

#define PARARNN_CELL_OF(Cell, name, gates, states, peepholes, recurrent) \
  template <>                                                            \
  struct CellOf<CellKind::k##Cell> {                                     \
    static constexpr int kGates = gates;                                 \
    static constexpr int kStates = states;                               \
    static constexpr int kPeepholes = peepholes;                         \
    static constexpr int kRecurrent = recurrent;                         \
  };
PARARNN_CELLS(PARARNN_CELL_OF)
#undef PARARNN_CELL_OF

// Rows of a and bx: z, r, n. State: h. The update gate z weighs the new value.
struct Gru : CellOf<CellKind::kGru> {
  template <class Input>
  PARARNN_HD static auto step(const Input& in) {
    const auto h = in.h(Index<0>());
    const auto z = sigmoid(madd(in.a(Index<0>()), h, in.bx(Index<0>())));
    const auto r = sigmoid(madd(in.a(Index<1>()), h, in.bx(Index<1>())));
    const auto n = tanh(madd(in.a(Index<2>()), h * r, in.bx(Index<2>())));
    const auto next = madd(z, n - h, h);
    return State1<decltype(next)>{next};
  }
};

// Rows of a and bx: f, o, g; of c (peepholes): f, o. State: c, h. The output gate sees the new c.
struct Lstm : CellOf<CellKind::kLstm> {
  template <class Input>
  PARARNN_HD static auto step(const Input& in) {
    const auto c = in.h(Index<0>());
    const auto h = in.h(Index<1>());
    const auto f = sigmoid(madd(in.a(Index<0>()), h, madd(in.c(Index<0>()), c, in.bx(Index<0>()))));
    const auto g = tanh(madd(in.a(Index<2>()), h, in.bx(Index<2>())));
    const auto next_c = madd(f, c - g, g);
    const auto o = sigmoid(madd(in.a(Index<1>()), h, madd(in.c(Index<1>()), next_c, in.bx(Index<1>()))));
    const auto next_h = o * tanh(next_c);
    return State2<decltype(next_c), decltype(next_h)>{next_c, next_h};
  }
};

// Rows of bx: a, c; of a: u. State: h. The gate a weighs the old state and does not depend on it.
struct Nlru : CellOf<CellKind::kNlru> {
  template <class Input>
  PARARNN_HD static auto step(const Input& in) {
    const auto h = in.h(Index<0>());
    const auto a = sigmoid(in.bx(Index<0>()));
    const auto n = tanh(madd(in.a(Index<0>()), h, in.bx(Index<1>())));
    const auto next = madd(a, h - n, n);
    return State1<decltype(next)>{next};
  }
};

// Rows of bx: z, n. State: h. It is linear in h: the update gate z weighs the new value, and both come from
// the input alone.
struct MinGru : CellOf<CellKind::kMinGru> {
  template <class Input>
  PARARNN_HD static auto step(const Input& in) {
    const auto h = in.h(Index<0>());
    const auto z = sigmoid(in.bx(Index<0>()));
    const auto next = madd(z, in.bx(Index<1>()) - h, h);
    return State1<decltype(next)>{next};
  }
};

// Calls run(cell) with a value of the struct that `kind` names.
template <class Run>
void for_cell(CellKind kind, const Run& run) {
  switch (kind) {
#define PARARNN_RUN(Cell, ...) \
  case CellKind::k##Cell:      \
    return run(Cell());
    PARARNN_CELLS(PARARNN_RUN)
#undef PARARNN_RUN
  }
}

// Values of one step of one channel (or of one vector of channels).
template <class Cell, class V>
struct StepValues {
  V state[Cell::kStates];
  V bx[Cell::kGates];
  V a[Cell::kRecurrent + 1];  // the last one of a and of peephole is never read; an array cannot be empty
  V peephole[Cell::kPeepholes + 1];
};

template <class Cell, class V>
struct PlainInput {
  const StepValues<Cell, V>& values;
  template <int I>
  PARARNN_HD const V& h(Index<I>) const {
    return values.state[I];
  }
  template <int I>
  PARARNN_HD const V& bx(Index<I>) const {
    return values.bx[I];
  }
  template <int I>
  PARARNN_HD const V& a(Index<I>) const {
    return values.a[I];
  }
  template <int I>
  PARARNN_HD const V& c(Index<I>) const {
    return values.peephole[I];
  }
};

// Which variable of the dual numbers is which input.
template <class Cell>
struct Variables {
  static constexpr int kState = 0;
  static constexpr int kBx = Cell::kStates;
  static constexpr int kA = kBx + Cell::kGates;
  static constexpr int kPeephole = kA + Cell::kRecurrent;
  static constexpr int kCount = kPeephole + Cell::kPeepholes;
};

// Only the states vary: the step gives the Jacobian.
template <class Cell, class V>
struct JacobianInput : PlainInput<Cell, V> {
  template <int I>
  PARARNN_HD auto h(Index<I>) const {
    return variable<I>(this->values.state[I]);
  }
};

// Everything varies: the step gives what a backward pass needs.
template <class Cell, class V>
struct GradientInput {
  using Id = Variables<Cell>;
  const StepValues<Cell, V>& values;
  template <int I>
  PARARNN_HD auto h(Index<I>) const {
    return variable<Id::kState + I>(values.state[I]);
  }
  template <int I>
  PARARNN_HD auto bx(Index<I>) const {
    return variable<Id::kBx + I>(values.bx[I]);
  }
  template <int I>
  PARARNN_HD auto a(Index<I>) const {
    return variable<Id::kA + I>(values.a[I]);
  }
  template <int I>
  PARARNN_HD auto c(Index<I>) const {
    return variable<Id::kPeephole + I>(values.peephole[I]);
  }
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
