// What ThreadSanitizer has to be told to find data races between fibers. Where it is not compiled in, nothing
// happens here. What orders memory is said, and nothing else does: a barrier, not that one fiber ran first.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pararnn {
namespace fibers {
namespace races {

bool are_found();
// Found since the program began.
int64_t count();
// Whether those that come are counted without being printed.
void expect(bool expected);

using Thread = void*;
Thread current();
// A thread that has seen what the current one has.
Thread begin();
void end(Thread thread);
// Comes just before the context is swapped.
void switch_to(Thread thread);

// What was done before release is seen after acquire.
void release(void* point);
void acquire(void* point);

}  // namespace races

// Memory that nobody has touched before.
class FreshMemory {
 public:
  explicit FreshMemory(size_t bytes);
  ~FreshMemory();
  FreshMemory(const FreshMemory&) = delete;
  FreshMemory& operator=(const FreshMemory&) = delete;

  char* data() const { return data_; }

 private:
  size_t bytes_;
  char* data_;
};

}  // namespace fibers
}  // namespace pararnn
