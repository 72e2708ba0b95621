// Ragged sequences in slots of a pool: empty ones, ones that start afresh, ones that are skipped.
#pragma once

#include <vector>

#include "exact_buffer.h"
#include "params/params.h"

namespace pararnn {

struct Ragged {
  static constexpr int64_t kSlots = 9;

  std::vector<int64_t> lengths{0, 1, 2, 33, 0, 7, 5};
  std::vector<int32_t> slots{3, 8, 0, 5, 7, kPadSlotId, 1};
  std::vector<uint8_t> held{1, 0, 1, 1, 0, 1, 1};
  std::vector<int32_t> bounds{0};

  Ragged() {
    for (const int64_t length : lengths) bounds.push_back(bounds.back() + int32_t(length));
  }

  int64_t count() const { return int64_t(lengths.size()); }
  int64_t tokens() const { return bounds.back(); }
};

// The arrays of a Ragged in memory of exact size.
class RaggedMemory {
 public:
  explicit RaggedMemory(const Ragged& ragged)
      : bounds_(ragged.bounds), slots_(ragged.slots), held_(ragged.held), count_(ragged.count()) {}

  Sequences in_slots() {
    return {count_, bounds_.data(), slots_.data(), reinterpret_cast<const bool*>(held_.data())};
  }
  Sequences plain() { return {count_, bounds_.data(), nullptr, nullptr}; }

 private:
  Exact<int32_t> bounds_;
  Exact<int32_t> slots_;
  Exact<uint8_t> held_;
  const int64_t count_;
};

}  // namespace pararnn
