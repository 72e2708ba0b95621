#include "races.h"

#include <sys/mman.h>

#include <new>

#ifdef PARARNN_FINDS_RACES
#include <sanitizer/tsan_interface.h>

namespace {
constexpr int64_t kPrinted = 3;  // a race has as many as there are pairs of threads
int64_t reported = 0;
bool are_expected = false;
}  // namespace

// The runtime of ThreadSanitizer calls these by name. What the first returns true for it does not print.
#define PARARNN_FOUND_BY_NAME __attribute__((visibility("default")))
namespace __tsan {
class ReportDesc;
PARARNN_FOUND_BY_NAME bool OnReport(const ReportDesc*, bool) {
  ++reported;
  return are_expected || reported > kPrinted;
}
}  // namespace __tsan
extern "C" PARARNN_FOUND_BY_NAME const char* __tsan_default_options() {
  return "exitcode=0 history_size=4 suppress_equal_stacks=0 suppress_equal_addresses=0";
}
#endif

namespace pararnn {
namespace fibers {
namespace races {

#ifdef PARARNN_FINDS_RACES
bool are_found() { return true; }
int64_t count() { return reported; }
void expect(bool expected) { are_expected = expected; }
Thread current() { return __tsan_get_current_fiber(); }
Thread begin() { return __tsan_create_fiber(0); }
void end(Thread thread) { __tsan_destroy_fiber(thread); }
void switch_to(Thread thread) { __tsan_switch_to_fiber(thread, __tsan_switch_to_fiber_no_sync); }
void release(void* point) { __tsan_release(point); }
void acquire(void* point) { __tsan_acquire(point); }
#else
bool are_found() { return false; }
int64_t count() { return 0; }
void expect(bool) {}
Thread current() { return nullptr; }
Thread begin() { return nullptr; }
void end(Thread) {}
void switch_to(Thread) {}
void release(void*) {}
void acquire(void*) {}
#endif

}  // namespace races

FreshMemory::FreshMemory(size_t bytes)
    : bytes_(bytes),
      data_(static_cast<char*>(
          mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (data_ == MAP_FAILED) throw std::bad_alloc();
}

FreshMemory::~FreshMemory() { munmap(data_, bytes_); }

}  // namespace fibers
}  // namespace pararnn
