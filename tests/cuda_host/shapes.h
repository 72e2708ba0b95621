// The shapes that every scan is tried on, and what has to hold of its results.
#pragma once

#include <algorithm>

#include "checks.h"
#include "cuda/block.cuh"
#include "cuda/widen.h"
#include "math/cell_math.h"
#include "problem.h"

namespace pararnn {

constexpr double kFloor = 1e-5;  // of promise P1, for states within [-1, 1]

template <class Check>
void for_shapes(const Check& check) {
  const Batch ragged{{0, 1, 2, 33, 0, 7, 130}, {3, 8, 0, 5, 7, kPadSlotId, 1}, {1, 0, 1, 1, 0, 1, 1}};
  const Batch borders{{127, 128, 129}, {2, 0, 1}, {1, 1, 0}};
  const Batch lengthy{{699, 4}, {4, 6}, {1, 1}};
  for (const CellKind cell : kCellKinds) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      check(cell, dtype, 5, ragged);
      check(cell, dtype, 33, Batch{{3, 1}, {1, 0}, {0, 1}});
      check(cell, dtype, 2, borders);
      check(cell, dtype, 1, lengthy);
    }
  }
}

// Runs body(cell, scalar), values of the types that p names, in every thread.
template <class Body>
void on_fibers(const RecurrenceParams& p, int64_t blocks, int threads, fibers::Order order,
               const Body& body) {
  using namespace PARARNN_ISA;
  for_cell(p.cell, [&](auto cell) {
    const auto run = [&](auto scalar) {
      fibers::run_grid(blocks, threads, order, [&] { body(cell, scalar); });
    };
    p.bx_dtype == DType::kFloat32 ? run(0.0f) : run(BFloat16{});
  });
}

inline void check_states(Checks& checks, ProblemMemory& memory, const States& want, double bound) {
  const auto close = [&](const char* what, const std::vector<float>& got,
                         const std::vector<double>& expected) {
    checks.close(what, got.data(), expected, std::vector<double>(expected.size(), bound));
  };
  close("states", memory.states(), want.states);
  close("y", memory.y(), want.y);
  close("the pool", memory.pool(), want.pool);
}

}  // namespace pararnn
