// One work item is one sequence and one vector of channels.
#include "cpu/simd/simd.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

void shift(const TokenShiftParams& p, int64_t s, int64_t channel) {
  const int64_t count = p.channels - channel;
  const int64_t begin = p.sequences.cu_seqlens[s], end = p.sequences.cu_seqlens[s + 1];
  const int64_t slot = p.sequences.slots[s];
  if (slot == kPadSlotId) {
    for (int64_t t = begin; t < end; ++t) store(p.out + t * p.channels + channel, Vec(0.0f), count);
    return;
  }
  float* const state = p.state + slot * p.slot_stride + channel;
  const Vec mix = load(p.mix + channel, count);
  Vec previous = goes_on(p.sequences, s) ? load(state, count) : Vec(0.0f);
  for (int64_t t = begin; t < end; ++t) {
    const Vec x = load(p.x + t * p.channels + channel, count);
    store(p.out + t * p.channels + channel, madd(previous - x, mix, x), count);
    previous = x;
  }
  if (p.moves_on) store(state, previous, count);
}

}  // namespace

void token_shift(const TokenShiftParams& p) {
  const int64_t blocks = ceil_div(p.channels, kLanes);
  parallel_lots(p.sequences.count * blocks, mean_length(p.sequences) * kLanes,
                [&](int64_t item) { shift(p, item / blocks, item % blocks * kLanes); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
