#pragma once

#include "cpu/threads/thread_pool.h"

namespace pararnn {

// Gives the pool back the number of threads that it had.
class ThreadCount {
 public:
  ThreadCount() : before_(num_threads()) {}
  ~ThreadCount() { set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  const int64_t before_;
};

}  // namespace pararnn
