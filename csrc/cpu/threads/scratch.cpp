#include "cpu/threads/scratch.h"

#include <cstdlib>
#include <memory>
#include <new>

namespace pararnn {
namespace {

struct Buffer {
  std::unique_ptr<float, decltype(&std::free)> data{nullptr, &std::free};
  int64_t floats = 0;
};

}  // namespace

float* scratch(int64_t floats) {
  thread_local Buffer buffer;
  if (floats > buffer.floats) {
    constexpr size_t kAlignment = 64;
    const size_t bytes = (size_t(floats) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    buffer.data.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    buffer.floats = buffer.data == nullptr ? 0 : floats;
    if (buffer.data == nullptr) throw std::bad_alloc();
  }
  return buffer.data.get();
}

}  // namespace pararnn
