// One work item is one head of one sequence, over all its rows. The head's state, 16 KB, stays in the
// first-level cache. Vectors run over the channels of the value, so that every sum over the key's channels
// adds in one order.
#include "cpu/rows/norm.h"
#include "cpu/simd/vector_math.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kHead = int(kDeltaHead);
constexpr int kVectors = 4;  // of the value's channels at a time
constexpr int kBlock = kVectors * kLanes;
static_assert(kHead % kBlock == 0);

// What one row brings to one head.
struct Row {
  alignas(64) float decay[kHead];
  alignas(64) float key[kHead];
  alignas(64) float value[kHead];
  alignas(64) float removed[kHead];  // n: what the state holds for this key is taken from it
  alignas(64) float written[kHead];  // n a
  const float* read;                 // r
  float bonus;
};

void load_row(const DeltaRuleParams& p, int64_t at, int64_t channel, Row& row) {
  const Vec one(1.0f), slowest(-0.606530659712633f);  // -exp(-1/2)
  SquareSum squares;
  RowSum bonus;
  row.read = p.r + at;
  for (int i = 0; i < kHead; i += kLanes) {
    const Vec k = load(p.k + at + i), a = sigmoid(load(p.rate + at + i));
    store(row.decay + i, exp(slowest * sigmoid(load(p.decay + at + i))));
    const Vec direction = k * load(p.k_k + channel + i);
    squares.add(i, direction);
    store(row.removed + i, direction);
    store(row.written + i, a);
    const Vec key = k * madd(a - one, load(p.k_a + channel + i), one);
    store(row.key + i, key);
    bonus.add(i, load(p.r + at + i) * key * load(p.r_k + channel + i));
    Vec v = load(p.v + at + i);
    if (p.value_gate == nullptr) {
      store(p.first_value + at + i, v);
    } else {
      v = madd(load(p.first_value + at + i) - v, sigmoid(load(p.value_gate + at + i)), v);
    }
    store(row.value + i, v);
  }
  row.bonus = bonus.total();
  constexpr float kLeastLength = 1e-12f;
  const float length = __builtin_sqrtf(squares.total());
  const Vec scale(1.0f / (length < kLeastLength ? kLeastLength : length));
  for (int i = 0; i < kHead; i += kLanes) {
    const Vec n = load(row.removed + i) * scale;
    store(row.removed + i, n);
    store(row.written + i, n * load(row.written + i));
  }
}

// state, y: at the block's first channel of the value.
void advance_block(float* state, const Row& row, const float* value, float* y) {
  Vec held[2][kVectors], read[2][kVectors], v[kVectors];
  for (int b = 0; b < kVectors; ++b) {
    held[0][b] = held[1][b] = read[0][b] = read[1][b] = Vec(0.0f);
    v[b] = load(value + b * kLanes);
  }
  for (int j = 0; j < kHead; ++j) {
    const Vec n(row.removed[j]);
    for (int b = 0; b < kVectors; ++b)
      held[j % 2][b] = madd(load(state + j * kHead + b * kLanes), n, held[j % 2][b]);
  }
  for (int b = 0; b < kVectors; ++b) held[0][b] = Vec(0.0f) - (held[0][b] + held[1][b]);
  for (int j = 0; j < kHead; ++j) {
    const Vec decay(row.decay[j]), written(row.written[j]), key(row.key[j]), r(row.read[j]);
    for (int b = 0; b < kVectors; ++b) {
      float* const at = state + j * kHead + b * kLanes;
      const Vec next = madd(v[b], key, madd(held[0][b], written, load(at) * decay));
      store(at, next);
      read[j % 2][b] = madd(next, r, read[j % 2][b]);
    }
  }
  for (int b = 0; b < kVectors; ++b) store(y + b * kLanes, read[0][b] + read[1][b]);
}

void write_row(const DeltaRuleParams& p, int64_t at, int64_t channel, const Row& row, const float* y) {
  RowSum sum;
  for (int i = 0; i < kHead; i += kLanes) sum.add(i, load(y + i));
  const Vec mean(sum.total() / float(kHead)), bonus(row.bonus);
  SquareSum squares;
  for (int i = 0; i < kHead; i += kLanes) squares.add(i, load(y + i) - mean);
  const Vec scale = squares.scale(kHead, p.norm_eps);
  for (int i = 0; i < kHead; i += kLanes) {
    const Vec normed = (load(y + i) - mean) * scale;
    const Vec read = madd(normed, load(p.norm_weight + channel + i), load(p.norm_bias + channel + i));
    store(p.out + at + i, madd(bonus, load(row.value + i), read) * load(p.gate + at + i));
  }
}

void run_head(const DeltaRuleParams& p, int64_t s, int64_t head) {
  const int64_t width = p.heads * kHead, channel = head * kHead;
  const int64_t begin = p.sequences.cu_seqlens[s], end = p.sequences.cu_seqlens[s + 1];
  const int64_t slot = p.sequences.slots[s];
  if (slot == kPadSlotId) {
    for (int64_t t = begin; t < end; ++t) memset(p.out + t * width + channel, 0, kHead * sizeof(float));
    return;
  }
  float* const state = p.state + slot * p.slot_stride + head * kHead * kHead;
  if (!goes_on(p.sequences, s)) memset(state, 0, kHead * kHead * sizeof(float));
  Row row;
  alignas(64) float y[kHead];
  for (int64_t t = begin; t < end; ++t) {
    const int64_t at = t * width + channel;
    load_row(p, at, channel, row);
    for (int i = 0; i < kHead; i += kBlock) advance_block(state + i, row, row.value + i, y + i);
    write_row(p, at, channel, row, y);
  }
}

}  // namespace

void delta_rule(const DeltaRuleParams& p) {
  constexpr int64_t kRowCost = 2 * kHead * kHead / 4;  // in elements of simple work
  parallel_lots(p.sequences.count * p.heads, mean_length(p.sequences) * kRowCost,
                [&](int64_t item) { run_head(p, item / p.heads, item % p.heads); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
