#include <numeric>
#include <vector>

#include "cpu/threads/thread_pool.h"
#include "kernels.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {
namespace {

constexpr int64_t kMostRepeats = int64_t(1) << 40;

void check_repeats(const char* name, int64_t count) {
  PARARNN_REQUIRE(count >= 1 && count <= kMostRepeats, name, ": expected 1 to 2^40, got ", count);
}

}  // namespace

int64_t read_bytes_op(const Tensor& data, int64_t passes) {
  check_tensor("data", data, ScalarType::Byte, {kAnySize});
  check_repeats("passes", passes);
  const int64_t parts = num_threads();
  std::vector<uint32_t> seen(size_t(parts), 0);
  read_bytes_cpu({data.size(0), parts, passes, data.const_data_ptr<uint8_t>(), seen.data()});
  return std::accumulate(seen.begin(), seen.end(), uint32_t(0));
}

int64_t multiply_add_op(int64_t unit, int64_t rounds) {
  check_repeats("rounds", rounds);
  const int64_t parts = num_threads();
  std::vector<int64_t> done(size_t(parts), 0);
  multiply_add_cpu({check_choice<MultiplyUnit>("unit", unit), parts, rounds, done.data()});
  return std::accumulate(done.begin(), done.end(), int64_t(0));
}

}  // namespace pararnn
