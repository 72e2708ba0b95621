#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "cpu/threads/thread_pool.h"
#include "tests.h"
#include "thread_count.h"

namespace pararnn {
namespace {

// How often each item was run. Plain numbers: that only one thread has an item, and that all is seen at the
// return, is what a thread sanitizer checks here.
struct Visits {
  std::vector<int> of;

  explicit Visits(int64_t items) : of(size_t(items), 0) {}

  void run() {
    parallel_for(
        int64_t(of.size()), [](const void* self, int64_t item) { ++(*static_cast<int* const*>(self))[item]; },
        std::vector<int*>{of.data()}.data());
  }

  bool all(int times) const {
    for (const int each : of) {
      if (each != times) return false;
    }
    return true;
  }
};

void check_every_item_runs_once(Checks& checks, int64_t threads, bool after_a_nap) {
  checks.about("the pool with %lld threads%s", (long long)threads, after_a_nap ? ", asleep" : "");
  for (const int64_t items : {0, 1, 2, 3, 17, 1000}) {
    if (after_a_nap) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    Visits visits(items);
    for (int repeat = 0; repeat < 20; ++repeat) visits.run();
    checks.that(visits.all(20), "every item runs once a call");
  }
}

void check_overlapping_calls(Checks& checks) {
  checks.about("calls from four threads");
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&wrong, caller] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        Visits visits(1 + (repeat * 7 + caller) % 50);
        visits.run();
        if (!visits.all(1)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  checks.that(wrong == 0, "every item runs once a call");
}

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

// Items of a worker whose core another program has, as far as the caller can see: they take long and no time.
void check_a_waiting_caller_sleeps(Checks& checks) {
  checks.about("a caller that waits for a worker");
  const std::thread::id caller = std::this_thread::get_id();
  const double before = thread_seconds();
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::atomic<int> begun{0};
    const auto body = [&] {
      // The caller does not end its item before a worker has begun the other one.
      if (++begun < 2 && std::this_thread::get_id() == caller) {
        while (begun < 2) std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    };
    parallel_for(2, [](const void* self, int64_t) { (*static_cast<const decltype(body)*>(self))(); }, &body);
  }
  checks.that(thread_seconds() - before < 0.05, "takes no core while it waits for 250 ms");
}

}  // namespace

void test_thread_pool(Checks& checks) {
  const ThreadCount restored;
  for (const int64_t threads : {1, 2, 3, 4, 8}) {
    set_num_threads(threads);
    check_every_item_runs_once(checks, threads, false);
    check_every_item_runs_once(checks, threads, true);
    checks.that(num_threads() == threads, "as many threads as were asked for");
    check_overlapping_calls(checks);
  }
  set_num_threads(2);
  check_a_waiting_caller_sleeps(checks);
}

}  // namespace pararnn
