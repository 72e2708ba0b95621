// The step of a whole model: packed sequences give the bits that each gives alone, a token at a time, and
// slots that are in no sequence keep theirs.
#include "tests.h"
#include "tiny_model.h"

namespace pararnn {
namespace {

struct Batch {
  std::vector<int32_t> bounds;
  std::vector<int32_t> slots;
  std::vector<uint8_t> held;
  std::vector<int64_t> tokens;
  std::vector<int64_t> rows;
};

std::vector<float> step(const TinyModel& model, TinyPool& pool, const Batch& batch, StepWorkspace& workspace,
                        std::vector<float>* hidden_rows = nullptr) {
  Exact<int32_t> bounds(batch.bounds), slots(batch.slots);
  Exact<uint8_t> held(batch.held);
  Exact<int64_t> tokens(batch.tokens), rows(batch.rows);
  Exact<float> logits(rows.size() * model.weights().vocab), hidden(rows.size() * model.weights().hidden);
  const Sequences sequences{slots.size(), bounds.data(), slots.data(),
                            reinterpret_cast<const bool*>(held.data())};
  model_step_cpu(model.weights(), pool.pool(),
                 {sequences, tokens.data(), rows.size(), rows.data(), logits.data(), nullptr, rows.size(),
                  rows.data(), hidden.data()},
                 workspace);
  if (hidden_rows != nullptr) *hidden_rows = hidden.copy();
  return logits.copy();
}

// Token by token; the logits of every one.
std::vector<float> alone(const TinyModel& model, TinyPool& pool, int32_t slot, bool held,
                         const std::vector<int64_t>& tokens) {
  std::vector<float> all;
  for (const int64_t token : tokens) {
    StepWorkspace workspace;
    const std::vector<float> logits = step(model, pool, {{0, 1}, {slot}, {held}, {token}, {0}}, workspace);
    all.insert(all.end(), logits.begin(), logits.end());
    held = true;
  }
  return all;
}

void check_packed_sequences(const TinyModel& model, Checks& checks, Random& random) {
  constexpr int64_t kSlots = 5;
  const std::vector<int32_t> bounds{0, 3, 4, 9, 11, 30}, slots{2, 0, kPadSlotId, 3, 1};
  const std::vector<uint8_t> held{0, 0, 0, 1, 0};
  std::vector<int64_t> tokens(30);
  for (int64_t& token : tokens) token = random.integer(0, model.weights().vocab - 1);
  const std::vector<int64_t> rows{2, 3, 9, 10, 29, 0};
  TinyPool packed(model, kSlots), one_by_one(model, kSlots);
  // Slot 3 resumes from a state.
  StepWorkspace workspace;
  const Batch first{{0, 2}, {3}, {0}, {5, 6}, {1}};
  step(model, packed, first, workspace);
  step(model, one_by_one, first, workspace);
  const std::vector<uint8_t> untouched = packed.slot(4);
  std::vector<float> hidden;
  const std::vector<float> got = step(model, packed, {bounds, slots, held, tokens, rows}, workspace, &hidden);
  std::vector<float> of_hidden(got.size());
  linear_cpu({model.weights().head, int64_t(rows.size()), hidden.data(), nullptr, of_hidden.data()});
  checks.same_bits("the head's product of the hidden rows", of_hidden.data(), got.data(),
                   int64_t(got.size() * sizeof(float)));

  std::vector<float> want(tokens.size() * size_t(model.weights().vocab));
  for (size_t s = 0; s < slots.size(); ++s) {
    if (slots[s] == kPadSlotId) continue;
    const std::vector<int64_t> its(tokens.begin() + bounds[s], tokens.begin() + bounds[s + 1]);
    const std::vector<float> logits = alone(model, one_by_one, slots[s], held[s] != 0, its);
    std::copy(logits.begin(), logits.end(), want.begin() + bounds[s] * model.weights().vocab);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t vocab = model.weights().vocab;
    checks.same_bits("logits", got.data() + int64_t(i) * vocab, want.data() + rows[i] * vocab, vocab * 4);
  }
  for (int64_t slot = 0; slot < 4; ++slot) checks.that(packed.slot(slot) == one_by_one.slot(slot), "a slot");
  checks.that(packed.slot(4) == untouched, "a slot of nobody");
}

}  // namespace

void test_model_step(const Level& level, Checks& checks) {
  Random random(12);
  const EnteredLevel entered(level);
  for (const CellKind cell : kCellKinds) {
    for (const WeightFormat format :
         {WeightFormat::kFloat32, WeightFormat::kBFloat16, WeightFormat::kInt8, WeightFormat::kInt4}) {
      for (const DType conv_dtype : {DType::kFloat32, DType::kBFloat16}) {
        checks.about("model_step at %s, cell %d, format %d", level.name.c_str(), int(cell), int(format));
        check_packed_sequences(TinyModel(level, cell, format, conv_dtype, random), checks, random);
      }
    }
  }
}

}  // namespace pararnn
