// native_tests [name ...]: every kernel at every level, or those named. Prints counts; exits with 1 if
// anything does not hold.
#include <algorithm>
#include <string>
#include <vector>

#include "run.h"
#include "tests.h"

namespace pararnn {
namespace {

struct Wanted {
  std::vector<std::string> names;
  Run& run;

  template <class Test>
  void add(const char* level, const char* name, const Test& test) const {
    if (names.empty() || std::find(names.begin(), names.end(), name) != names.end())
      run.add(level, name, test);
  }
};

void run_all(const Wanted& wanted) {
#if defined(PARARNN_HAS_STAND_INS)
  wanted.add("any", "stand_ins", test_stand_ins);
#endif
  wanted.add("any", "thread_pool", test_thread_pool);
  wanted.add("any", "topology", test_topology);
  for (const Level& level : levels()) {
#define PARARNN_RUN_TEST(test) \
  wanted.add(level.name.c_str(), #test, [&](Checks& checks) { test_##test(level, checks); });
    PARARNN_NATIVE_TESTS(PARARNN_RUN_TEST)
#undef PARARNN_RUN_TEST
  }
}

}  // namespace
}  // namespace pararnn

int main(int count, char** arguments) {
  using namespace pararnn;
  const std::vector<std::string> names(arguments + 1, arguments + count);
  return exit_status_of([&](Run& run) { run_all({names, run}); });
}
