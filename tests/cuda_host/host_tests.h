// What is tested; test_<name>.cpp has it.
#pragma once

#include "checks.h"
#include "cuda/block.cuh"

#define PARARNN_CUDA_HOST_TESTS(X) \
  X(fibers)                        \
  X(sequential_scan)               \
  X(newton_scan)                   \
  X(newton_teams)                  \
  X(linear_scan)                   \
  X(linear_steps)                  \
  X(mma)                           \
  X(row_product)                   \
  X(dequantize)                    \
  X(sample)                        \
  X(add_rms_norm)                  \
  X(gated_rms_norm)                \
  X(silu_mul)                      \
  X(slot_conv)

namespace pararnn {

#define PARARNN_DECLARE_TEST(name) void test_##name(Checks& checks);
PARARNN_CUDA_HOST_TESTS(PARARNN_DECLARE_TEST)
#undef PARARNN_DECLARE_TEST

constexpr fibers::Order kOrders[] = {fibers::Order::kAscending, fibers::Order::kDescending,
                                     fibers::Order::kShuffled};

}  // namespace pararnn
