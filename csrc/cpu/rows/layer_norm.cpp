#include "cpu/rows/norm.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// 0 in the lanes past the row's end, which a sum must not see.
Vec centred(const float* x, Vec mean, int64_t left) {
  const Vec difference = load(x, left) - mean;
  if (left >= kLanes) return difference;
  float lanes[kLanes] = {};
  store(lanes, difference, left);
  return load(lanes);
}

void norm_row(const LayerNormParams& p, const float* x, float* out) {
  RowSum sum;
  for (int64_t i = 0; i < p.width; i += kLanes) sum.add(i, load(x + i, p.width - i));
  const Vec mean(sum.total() / float(p.width));
  SquareSum squares;
  for (int64_t i = 0; i < p.width; i += kLanes) squares.add(i, centred(x + i, mean, p.width - i));
  const Vec scale = squares.scale(p.width, p.eps);
  for (int64_t i = 0; i < p.width; i += kLanes) {
    const int64_t left = p.width - i;
    const Vec normed = (load(x + i, left) - mean) * scale;
    store(out + i, madd(normed, load(p.weight + i, left), load(p.bias + i, left)), left);
  }
}

}  // namespace

void layer_norm(const LayerNormParams& p) {
  parallel_lots(p.rows, p.width,
                [&](int64_t row) { norm_row(p, p.x + row * p.width, p.out + row * p.width); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
