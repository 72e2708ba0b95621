// Memory whose end is the end of what may be touched: the next byte lies on a page that nobody may read. What
// stands before the first byte is compared when the buffer goes.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace pararnn {

template <class T>
class Exact {
 public:
  // Filled with bytes that make a NaN of a float and an absurd integer.
  explicit Exact(int64_t count) : count_(count), room_(pages(count * int64_t(sizeof(T)))) {
    void* const start =
        mmap(nullptr, size_t(room_ + page()), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) std::abort();
    start_ = static_cast<unsigned char*>(start);
    if (mprotect(start_ + room_, size_t(page()), PROT_NONE) != 0) std::abort();
    std::memset(start_, kFill, size_t(room_));
  }

  explicit Exact(const std::vector<T>& values) : Exact(int64_t(values.size())) {
    if (!values.empty()) std::memcpy(data(), values.data(), values.size() * sizeof(T));
  }

  ~Exact() {
    for (const unsigned char* byte = start_; byte < reinterpret_cast<unsigned char*>(data()); ++byte) {
      if (*byte == kFill) continue;
      std::printf("FAILED: a kernel wrote before the beginning of a buffer of %lld elements\n",
                  static_cast<long long>(count_));
      std::abort();
    }
    munmap(start_, size_t(room_ + page()));
  }

  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;

  T* data() { return reinterpret_cast<T*>(start_ + room_ - count_ * int64_t(sizeof(T))); }
  T& operator[](int64_t i) { return data()[i]; }
  int64_t size() const { return count_; }
  int64_t bytes() const { return count_ * int64_t(sizeof(T)); }
  std::vector<T> copy() { return std::vector<T>(data(), data() + count_); }

  static constexpr unsigned char kFill = 0xff;

 private:
  static int64_t page() { return sysconf(_SC_PAGESIZE); }

  // At least one, so that there is something before the buffer.
  static int64_t pages(int64_t bytes) { return (bytes + page()) / page() * page(); }

  const int64_t count_;
  const int64_t room_;
  unsigned char* start_;
};

}  // namespace pararnn
