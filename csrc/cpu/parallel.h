// parallel_for over a lambda. In the level's namespace, because a template instance shared between levels
// would be merged by the linker.
#pragma once

#include "../host_device.h"
#include "thread_pool.h"

namespace pararnn {
namespace PARARNN_ISA {

template <class Body>
void parallel(int64_t items, const Body& body) {
  parallel_for(
      items, [](const void* context, int64_t item) { (*static_cast<const Body*>(context))(item); }, &body);
}

constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
constexpr int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

}  // namespace PARARNN_ISA
}  // namespace pararnn
