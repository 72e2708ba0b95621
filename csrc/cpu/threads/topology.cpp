#include "cpu/threads/topology.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
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

constexpr int64_t kNoQuota = std::numeric_limits<int64_t>::max();

int64_t as_cpus(double quota, double period) {
  return quota > 0 && period > 0 ? int64_t(std::ceil(quota / period)) : kNoQuota;
}

// cpu.max: "200000 100000", or "max 100000" without a quota.
int64_t quota_of_version_2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? as_cpus(quota, period) : kNoQuota;
}

// A quota of -1 is none.
int64_t quota_of_version_1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? as_cpus(quota, period) : kNoQuota;
}

// The least quota of a cgroup and of all above it, of which any may have one. A container sees its own cgroup
// as the mount's root, under whatever path the host knows it.
int64_t least_quota(int64_t (*quota_of)(const std::string&), const std::string& mount, std::string path) {
  int64_t least = quota_of(mount);
  while (path.size() > 1) {
    least = std::min(least, quota_of(mount + path));
    path.resize(path.find_last_of('/'));
  }
  return least;
}

bool names_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

int64_t cgroup_cpus(const std::string& membership, const std::string& root) {
  int64_t least = kNoQuota;
  std::istringstream lines(membership);
  std::string number, controllers, path;
  // hierarchy:controllers:/path, without controllers in version 2.
  while (std::getline(lines, number, ':') && std::getline(lines, controllers, ':') &&
         std::getline(lines, path)) {
    if (path.empty() || path[0] != '/' || path.find("/..") != std::string::npos) path = "/";
    if (controllers.empty()) {
      least = std::min(least, least_quota(quota_of_version_2, root, path));
      least = std::min(least, least_quota(quota_of_version_2, root + "/unified", path));
    } else if (names_cpu(controllers)) {
      least = std::min(least, least_quota(quota_of_version_1, root + "/" + controllers, path));
      least = std::min(least, least_quota(quota_of_version_1, root + "/cpu", path));
    }
  }
  return least;
}

int64_t usable_cores() {
  const int64_t granted = cgroup_cpus(text_of("/proc/self/cgroup"), "/sys/fs/cgroup");
  return std::max<int64_t>(1, std::min(physical_cores(), granted));
}

}  // namespace pararnn
