// The kernels of csrc/cuda on fibers. Prints counts; exits with 1 if anything does not hold.
#include <cstdio>
#include <exception>

#include "crash.h"
#include "host_tests.h"

namespace pararnn {
namespace {

struct Run {
  int64_t count = 0;
  int64_t failures = 0;

  void add(const char* name, void (*test)(Checks&)) {
    Checks checks;
    watch_for_crashes(checks.about_text());
    checks.about("%s", name);
    test(checks);
    checks.that(checks.count() > 0, "nothing was checked");
    std::printf("%-20s %6lld checks\n", name, static_cast<long long>(checks.count()));
    std::fflush(stdout);
    count += checks.count();
    failures += checks.failures();
  }
};

int run_all() {
  Run run;
#define PARARNN_RUN_TEST(name) run.add(#name, test_##name);
  PARARNN_CUDA_HOST_TESTS(PARARNN_RUN_TEST)
#undef PARARNN_RUN_TEST
  std::printf("%lld checks, %lld failures\n", static_cast<long long>(run.count),
              static_cast<long long>(run.failures));
  return run.failures == 0 && run.count > 0 ? 0 : 1;
}

}  // namespace
}  // namespace pararnn

int main() {
  try {
    return pararnn::run_all();
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
