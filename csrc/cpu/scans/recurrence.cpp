// Forward recurrence: one work item is one sequence and kVectors vectors of channels, over all its time
// steps.
#include "cpu/simd/cell_vectors.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kVectors = 4;  // independent chains that hide the latency of exp and division
constexpr int64_t kBlock = kVectors * kLanes;

template <class Cell>
struct Block {
  const RecurrenceParams& p;
  int64_t channel;
  int64_t count;
  StepValues<Cell, Vec> values[kVectors];

  int64_t lanes_left(int v) const { return count - v * kLanes; }

  void start(const float* state) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = channel + v * kLanes;
      load_parameters<Cell>(values[v], p.a + at, p.c == nullptr ? nullptr : p.c + at, p.channels,
                            lanes_left(v));
      for (int n = 0; n < Cell::kStates; ++n) {
        values[v].state[n] =
            state == nullptr ? Vec(0.0f) : load(state + n * p.row_stride + v * kLanes, lanes_left(v));
      }
    }
  }

  void step(int64_t t) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = channel + v * kLanes;
      load_rows(values[v].bx, Cell::kGates,
                static_cast<const float*>(p.bx) + t * Cell::kGates * p.channels + at, p.channels,
                lanes_left(v));
      take_state<Cell>(values[v].state, Cell::step(PlainInput<Cell, Vec>{values[v]}));
    }
  }

  void write(int64_t t) const {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = channel + v * kLanes;
      if (p.y != nullptr) {
        store(p.y + t * p.channels + at, values[v].state[Cell::kStates - 1], lanes_left(v));
      }
      if (p.states == nullptr) continue;
      for (int n = 0; n < Cell::kStates; ++n) {
        store(p.states + (t * Cell::kStates + n) * p.channels + at, values[v].state[n], lanes_left(v));
      }
    }
  }

  void finish(float* state) const {
    for (int v = 0; v < kVectors; ++v) {
      for (int n = 0; n < Cell::kStates; ++n) {
        store(state + n * p.row_stride + v * kLanes, values[v].state[n], lanes_left(v));
      }
    }
  }
};

void clear_outputs(const RecurrenceParams& p, int64_t begin, int64_t end, int64_t channel, int64_t count) {
  for (int64_t t = begin; t < end && p.y != nullptr; ++t) {
    for (int64_t i = 0; i < count; i += kLanes) {
      store(p.y + t * p.channels + channel + i, Vec(0.0f), count - i);
    }
  }
}

template <class Cell>
void run_block(const RecurrenceParams& p, int64_t s, int64_t channel) {
  const int64_t count = smaller(kBlock, p.channels - channel);
  const int64_t begin = p.sequences.cu_seqlens[s], end = p.sequences.cu_seqlens[s + 1];
  const int64_t slot = p.sequences.slots == nullptr ? s : p.sequences.slots[s];
  if (slot == kPadSlotId) return clear_outputs(p, begin, end, channel, count);

  const int64_t offset = slot * p.slot_stride + channel;
  Block<Cell> block{p, channel, count, {}};
  block.start(goes_on(p.sequences, s) ? p.initial_state + offset : nullptr);
  for (int64_t t = begin; t < end; ++t) {
    block.step(t);
    block.write(t);
  }
  if (p.final_state != nullptr) block.finish(p.final_state + offset);
}

}  // namespace

void recurrence(const RecurrenceParams& p) {
  const int64_t blocks = ceil_div(p.channels, kBlock);
  constexpr int64_t kStepCost = 8;  // in elements of simple work
  parallel_lots(p.sequences.count * blocks, mean_length(p.sequences) * kBlock * kStepCost, [&](int64_t item) {
    const int64_t s = item / blocks, channel = item % blocks * kBlock;
    for_cell(p.cell, [&](auto cell) { run_block<decltype(cell)>(p, s, channel); });
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
