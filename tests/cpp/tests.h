// What is tested, each for one level; test_<name>.cpp has it.
#pragma once

#include "checks.h"
#include "levels.h"

#define PARARNN_NATIVE_TESTS(X) \
  X(pack)                       \
  X(linear)                     \
  X(linear_quantized)           \
  X(embedding)                  \
  X(recurrence)                 \
  X(recurrence_backward)        \
  X(causal_conv1d)              \
  X(elementwise)                \
  X(rwkv7)                      \
  X(sample)                     \
  X(limits)                     \
  X(model_step)

namespace pararnn {

#define PARARNN_DECLARE_TEST(name) void test_##name(const Level& level, Checks& checks);
PARARNN_NATIVE_TESTS(PARARNN_DECLARE_TEST)
#undef PARARNN_DECLARE_TEST

void test_thread_pool(Checks& checks);
void test_topology(Checks& checks);
void test_stand_ins(Checks& checks);

}  // namespace pararnn
