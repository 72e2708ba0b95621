#include "cpu/simd/simd.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

void sum_rows(const SumRowsParams& p) {
  parallel(ceil_div(p.size, kLanes), [&](int64_t item) {
    const int64_t at = item * kLanes, count = p.size - at;
    Vec sum(0.0f);
    for (int64_t row = 0; row < p.rows; ++row) sum = sum + load(p.in + row * p.stride + at, count);
    store(p.out + at, sum, count);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
