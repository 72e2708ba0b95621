#pragma once

#include <cstdint>

namespace pararnn {

// Physical cores that this process may run on, at least 1; the quota of a container's cgroup counts.
int64_t usable_cores();

}  // namespace pararnn
