#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "cpu/threads/topology.h"
#include "tests.h"

namespace pararnn {
namespace {

constexpr int64_t kNoQuota = std::numeric_limits<int64_t>::max();

// A folder in which cgroups are made up.
class Cgroups {
 public:
  Cgroups() {
    std::string name = (std::filesystem::temp_directory_path() / "cgroups-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~Cgroups() { std::filesystem::remove_all(root_); }

  Cgroups& with(const std::string& file, const std::string& text) {
    const std::filesystem::path path = root_ / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
    return *this;
  }

  Cgroups& with_version_1(const std::string& folder, const std::string& quota, const std::string& period) {
    return with(folder + "/cpu.cfs_quota_us", quota).with(folder + "/cpu.cfs_period_us", period);
  }

  int64_t cpus(const std::string& membership) const { return cgroup_cpus(membership, root_.string()); }

 private:
  std::filesystem::path root_;
};

void check_version_2(Checks& checks) {
  checks.about("version 2");
  Cgroups cgroups;
  cgroups.with("system.slice/cpu.max", "150000 100000");
  cgroups.with("system.slice/server.service/cpu.max", "max 100000");
  checks.that(cgroups.cpus("0::/system.slice/server.service\n") == 2, "a quota of the parent counts");
  checks.that(cgroups.cpus("0::/user.slice\n") == kNoQuota, "another cgroup's does not");
  cgroups.with("system.slice/server.service/cpu.max", "50000 100000");
  checks.that(cgroups.cpus("0::/system.slice/server.service\n") == 1, "the least quota counts");
  checks.that(cgroups.cpus("0::/system.slice\n") == 2, "a child's does not");
  checks.that(cgroups.cpus("0::/system.slice/a:b\n") == 2, "a name may hold a colon");
}

void check_a_container(Checks& checks) {
  checks.about("a container");
  Cgroups cgroups;
  cgroups.with("cpu.max", "300000 100000");
  checks.that(cgroups.cpus("0::/\n") == 3, "its cgroup is the mount's root");
  checks.that(cgroups.cpus("0::/docker/0123\n") == 3, "also under the host's path");
  checks.that(cgroups.cpus("0::/../../server\n") == 3, "also seen from another namespace");
  checks.that(cgroups.cpus("") == kNoQuota, "a process without cgroups has no quota");
}

void check_version_1(Checks& checks) {
  checks.about("version 1");
  Cgroups cgroups;
  cgroups.with_version_1("cpu,cpuacct/docker/0123", "250000", "100000")
      .with_version_1("cpu,cpuacct", "-1", "1");
  checks.that(cgroups.cpus("4:memory:/\n2:cpu,cpuacct:/docker/0123\n0::/\n") == 3, "its own quota");
  checks.that(cgroups.cpus("2:cpu,cpuacct:/docker/0123/inner\n") == 3, "that of the parent");
  checks.that(cgroups.cpus("2:cpuacct:/docker/0123\n1:name=cpu:/docker/0123\n") == kNoQuota, "of cpu alone");
  cgroups.with_version_1("cpu", "100000", "100000");
  checks.that(cgroups.cpus("3:cpu:/docker/ffff\n") == 1, "of a container, whose path is the host's");
}

void check_both_versions(Checks& checks) {
  checks.about("both versions");
  Cgroups cgroups;
  cgroups.with_version_1("cpu/a", "400000", "100000").with("unified/b/cpu.max", "200000 100000");
  checks.that(cgroups.cpus("1:cpu:/a\n0::/b\n") == 2, "the least of the two counts");
}

}  // namespace

void test_topology(Checks& checks) {
  check_version_2(checks);
  check_a_container(checks);
  check_version_1(checks);
  check_both_versions(checks);
  checks.about("this machine");
  checks.that(usable_cores() >= 1, "has a core");
}

}  // namespace pararnn
