// The cells that have kernels, a line each. Their steps are in math/cell_math.h.
#pragma once

#include <cstdint>

namespace pararnn {

// X(struct in cell_math.h, name, gates G, states N, rows of peepholes P, recurrent rows R). G: rows of bx; R:
// rows of a. The order gives each its number.
#define PARARNN_CELLS(X)      \
  X(Gru, "gru", 3, 1, 0, 3)   \
  X(Lstm, "lstm", 3, 2, 2, 3) \
  X(Nlru, "nlru", 2, 1, 0, 1) \
  X(MinGru, "mingru", 2, 1, 0, 0)

#define PARARNN_KIND(Cell, ...) k##Cell,
enum class CellKind { PARARNN_CELLS(PARARNN_KIND) };
#undef PARARNN_KIND

struct CellSizes {
  CellKind kind;
  const char* name;
  int64_t gates;
  int64_t states;
  int64_t peepholes;
  int64_t recurrent;
};

#define PARARNN_CELL_SIZES(Cell, ...) {CellKind::k##Cell, __VA_ARGS__},
constexpr CellSizes kCells[] = {PARARNN_CELLS(PARARNN_CELL_SIZES)};
#undef PARARNN_CELL_SIZES

#define PARARNN_EACH_KIND(Cell, ...) CellKind::k##Cell,
constexpr CellKind kCellKinds[] = {PARARNN_CELLS(PARARNN_EACH_KIND)};
#undef PARARNN_EACH_KIND

constexpr const CellSizes& sizes_of(CellKind cell) { return kCells[int(cell)]; }

}  // namespace pararnn
