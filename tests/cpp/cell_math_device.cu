// Compiles the cells for a GPU: plain steps, Jacobians and gradients in float and double. Nothing runs.
#include "math/cell_math.h"

namespace pararnn {
namespace PARARNN_ISA {

template <class Cell, class V, template <class, class> class Input>
__global__ void step_channels(StepValues<Cell, V>* steps, V* out, int count) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const StepValues<Cell, V> values = steps[i];
  const auto next = Cell::step(Input<Cell, V>{values});
  const auto& last = next.get(Index<Cell::kStates - 1>());
  out[i] = value_of(last);
  if constexpr (kDependsOn<0, decltype(last)>) out[i + count] = partial<0>(last);
}

#define PARARNN_INSTANTIATE(Cell, V)                                                             \
  template __global__ void step_channels<Cell, V, PlainInput>(StepValues<Cell, V>*, V*, int);    \
  template __global__ void step_channels<Cell, V, JacobianInput>(StepValues<Cell, V>*, V*, int); \
  template __global__ void step_channels<Cell, V, GradientInput>(StepValues<Cell, V>*, V*, int);
#define PARARNN_INSTANTIATE_BOTH(Cell, ...) PARARNN_INSTANTIATE(Cell, float) PARARNN_INSTANTIATE(Cell, double)
PARARNN_CELLS(PARARNN_INSTANTIATE_BOTH)

}  // namespace PARARNN_ISA
}  // namespace pararnn
