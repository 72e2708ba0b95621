// Random numbers that are the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pararnn {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t x = state_;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }

  // In [low, high].
  int64_t integer(int64_t low, int64_t high) { return low + int64_t(next() % uint64_t(high - low + 1)); }

  // In [-size, size).
  float number(float size = 1.0f) { return (float(next() >> 40) / 8388608.0f - 1.0f) * size; }

  std::vector<float> numbers(int64_t count, float size = 1.0f) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float& each : out) each = number(size);
    return out;
  }

 private:
  uint64_t state_;
};

}  // namespace pararnn
