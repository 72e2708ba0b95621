// native_tests [name ...]: every kernel at every level, or those named. Prints counts; exits with 1 if
// anything does not hold.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "crash.h"
#include "tests.h"

namespace pararnn {
namespace {

struct Run {
  std::vector<std::string> wanted;
  int64_t count = 0;
  int64_t failures = 0;

  bool wants(const char* name) const {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end();
  }

  template <class Test>
  void add(const char* level, const char* name, const Test& test) {
    if (!wants(name)) return;
    Checks checks;
    watch_for_crashes(checks.about_text());
    checks.about("%s at %s", name, level);
    test(checks);
    checks.that(checks.count() > 0, "nothing was checked");
    std::printf("%-20s %-22s %6lld checks\n", level, name, static_cast<long long>(checks.count()));
    std::fflush(stdout);
    count += checks.count();
    failures += checks.failures();
  }
};

int run_all(Run run) {
#if defined(PARARNN_HAS_STAND_INS)
  run.add("any", "stand_ins", test_stand_ins);
#endif
  run.add("any", "thread_pool", test_thread_pool);
  for (const Level& level : levels()) {
#define PARARNN_RUN_TEST(test) \
  run.add(level.name.c_str(), #test, [&](Checks& checks) { test_##test(level, checks); });
    PARARNN_NATIVE_TESTS(PARARNN_RUN_TEST)
#undef PARARNN_RUN_TEST
  }
  std::printf("%lld checks, %lld failures\n", static_cast<long long>(run.count),
              static_cast<long long>(run.failures));
  return run.failures == 0 && run.count > 0 ? 0 : 1;
}

}  // namespace
}  // namespace pararnn

int main(int count, char** arguments) {
  try {
    return pararnn::run_all({std::vector<std::string>(arguments + 1, arguments + count)});
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
