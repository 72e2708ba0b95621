#include "topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <string>

namespace pararnn {
namespace {

std::string core_of(int cpu) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
  std::string siblings;
  return std::getline(file, siblings) ? siblings : std::to_string(cpu);
}

int64_t physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cores.insert(core_of(cpu));
  }
  return int64_t(cores.size());
}

int64_t quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double limit = 0, period = 0;
  if (!(file >> limit >> period) || period <= 0) return std::numeric_limits<int64_t>::max();
  return int64_t(std::ceil(limit / period));
}

}  // namespace

int64_t usable_cores() { return std::max<int64_t>(1, std::min(physical_cores(), quota())); }

}  // namespace pararnn
