// Starting a kernel on the caller's stream, and choosing which by cell and dtype.
#pragma once

#include <cuda_runtime.h>

#include "cuda/block.cuh"
#include "cuda/widen.h"
#include "kernels.h"
#include "math/cell_math.h"
#include "require.h"

namespace pararnn {
namespace PARARNN_ISA {

inline void check(cudaError_t error, const char* what) {
  PARARNN_REQUIRE(error == cudaSuccess, what, ": ", cudaGetErrorString(error));
}

// A grid of no blocks is an error to CUDA and nothing to do for us.
template <class... Arguments>
void launch(const char* name, void (*kernel)(Arguments...), int64_t blocks, int threads, void* stream,
            Arguments... arguments) {
  constexpr int64_t kMostBlocks = 0x7fffffff;
  PARARNN_REQUIRE(blocks <= kMostBlocks, name, ": ", blocks, " blocks are more than a GPU starts at once");
  if (blocks == 0) return;
  start_grid(kernel, blocks, threads, stream, arguments...);
  check(cudaGetLastError(), name);
}

// Calls run(cell, scalar) with values of the types that p names.
template <class Run>
void for_types_of(const RecurrenceParams& p, const Run& run) {
  for_cell(p.cell,
           [&](auto cell) { p.bx_dtype == DType::kFloat32 ? run(cell, 0.0f) : run(cell, BFloat16{}); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
