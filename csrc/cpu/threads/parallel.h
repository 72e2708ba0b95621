// parallel_for over a lambda. In the level's namespace, because a template instance shared between levels
// would be merged by the linker.
#pragma once

#include "cpu/threads/thread_pool.h"
#include "math/host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
constexpr int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

template <class Body>
void parallel(int64_t items, const Body& body) {
  parallel_for(
      items, [](const void* context, int64_t item) { (*static_cast<const Body*>(context))(item); }, &body);
}

// The same in runs of neighbouring items, a few for each thread, which so reads on through memory.
template <class Body>
void parallel_runs(int64_t items, const Body& body) {
  constexpr int64_t kRunsPerThread = 4;
  const int64_t run = ceil_div(items, kRunsPerThread * num_threads());
  parallel(ceil_div(items, run), [&](int64_t index) {
    const int64_t end = smaller((index + 1) * run, items);
    for (int64_t item = index * run; item < end; ++item) body(item);
  });
}

// The same for items that each cost about `cost` elements of work: handed out in lots worth waking a thread
// for.
template <class Body>
void parallel_lots(int64_t items, int64_t cost, const Body& body) {
  constexpr int64_t kWorthwhile = 8192;
  const int64_t lot = ceil_div(kWorthwhile, cost + 1);
  parallel(ceil_div(items, lot), [&](int64_t index) {
    const int64_t end = smaller((index + 1) * lot, items);
    for (int64_t item = index * lot; item < end; ++item) body(item);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
