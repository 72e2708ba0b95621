#include "cpu/simd/vector_math.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

// NaN fails the comparison and stays.
Vec squared_relu(Vec x) {
  const FloatLanes zero = Vec(0.0f).lanes;
  const Vec positive = x.lanes < zero ? zero : x.lanes;
  return positive * positive;
}

template <class F>
void apply_to_all(const ApplyParams& p, F function) {
  constexpr int64_t kCost = 4;  // of exp, in elements of simple work
  parallel_lots(ceil_div(p.size, kLanes), kCost * kLanes, [&](int64_t part) {
    float* const x = p.x + part * kLanes;
    const int64_t left = p.size - part * kLanes;
    store(x, function(load(x, left)), left);
  });
}

}  // namespace

void apply(const ApplyParams& p) {
  switch (p.function) {
    case Function::kTanh:
      return apply_to_all(p, [](Vec x) { return tanh(x); });
    case Function::kSigmoid:
      return apply_to_all(p, [](Vec x) { return sigmoid(x); });
    case Function::kSquaredRelu:
      return apply_to_all(p, squared_relu);
  }
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
