// What all operations over packed sequences share: types of numbers, and where sequences lie.
#pragma once

#include <cstdint>

namespace pararnn {

constexpr int32_t kPadSlotId = -1;

enum class DType { kFloat32, kBFloat16 };
enum class Activation { kNone, kSilu };

// S sequences packed end to end: sequence s owns rows cu_seqlens[s] .. cu_seqlens[s + 1].
// On a GPU all pointers are to its memory, and nobody checks cu_seqlens and slots: looking at them would stop
// the stream. Without `slots` sequence s uses state row s. A sequence in kPadSlotId is skipped and its
// outputs are 0.
struct Sequences {
  int64_t count;
  const int32_t* cu_seqlens;
  const int32_t* slots;
  const bool* has_initial_state;  // null: all
};

constexpr bool goes_on(const Sequences& sequences, int64_t sequence) {
  return sequences.has_initial_state == nullptr || sequences.has_initial_state[sequence];
}

constexpr int64_t mean_length(const Sequences& sequences) {
  return sequences.count == 0 ? 0 : sequences.cu_seqlens[sequences.count] / sequences.count;
}

}  // namespace pararnn
