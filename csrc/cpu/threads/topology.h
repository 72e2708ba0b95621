#pragma once

#include <cstdint>
#include <string>

namespace pararnn {

// Physical cores that this process may run on, at least 1; the quota of a container's cgroup counts.
int64_t usable_cores();

// CPUs that a process's cgroup and all above it grant together, rounded up; INT64_MAX without a quota.
// membership: the text of /proc/self/cgroup.  root: where cgroups are mounted, version 1, version 2 or both.
int64_t cgroup_cpus(const std::string& membership, const std::string& root);

}  // namespace pararnn
