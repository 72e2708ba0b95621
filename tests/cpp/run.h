// Tests one after the other, counted and printed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>

#include "checks.h"
#include "crash.h"

namespace pararnn {

struct Run {
  int64_t count = 0;
  int64_t failures = 0;

  // test(Checks&); what: an instruction set level, or where it runs.
  template <class Test>
  void add(const char* what, const char* name, const Test& test) {
    Checks checks;
    watch_for_crashes(checks.about_text());
    checks.about("%s at %s", name, what);
    test(checks);
    checks.that(checks.count() > 0, "nothing was checked");
    std::printf("%-20s %-22s %6lld checks\n", what, name, static_cast<long long>(checks.count()));
    std::fflush(stdout);
    count += checks.count();
    failures += checks.failures();
  }
};

// Runs tests(run) and prints the sums. Returns what main has to: 1 if anything does not hold.
template <class Tests>
int exit_status_of(const Tests& tests) {
  Run run;
  try {
    tests(run);
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
  std::printf("%lld checks, %lld failures\n", static_cast<long long>(run.count),
              static_cast<long long>(run.failures));
  return run.failures == 0 && run.count > 0 ? 0 : 1;
}

}  // namespace pararnn
