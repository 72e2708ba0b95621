// Threads shared by all CPU kernels. Workers after a call, and a caller that waits for them, spin for a
// bounded time, then sleep.
#pragma once

#include <cstdint>

namespace pararnn {

using Task = void (*)(const void* context, int64_t item);

// task(context, i) for every i in [0, items), each once, on any thread; returns when all are done.
// Called while another call runs, or after fork in the child, it still runs every item. A task must not
// throw.
void parallel_for(int64_t items, Task task, const void* context);

// What was set; fewer from the first call on if the system has no more threads.
int64_t num_threads();
void set_num_threads(int64_t count);

}  // namespace pararnn
