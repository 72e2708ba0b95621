#include "../params.h"
#include "bfloat16.h"
#include "parallel.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

template <class Weight>
void copy_row(const EmbeddingParams& p, int64_t row) {
  const Weight* const from = static_cast<const Weight*>(p.weight) + p.tokens[row] * p.width;
  for (int64_t i = 0; i < p.width; i += kLanes) {
    store(p.out + row * p.width + i, load(from + i, p.width - i), p.width - i);
  }
}

}  // namespace

void embedding(const EmbeddingParams& p) {
  parallel_lots(p.rows, p.width, [&](int64_t row) {
    p.weight_dtype == DType::kFloat32 ? copy_row<float>(p, row) : copy_row<BFloat16>(p, row);
  });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
