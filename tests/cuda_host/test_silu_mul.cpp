// The product in the middle of the MLP, element by element.
#include "cuda/rows/silu_mul.cuh"
#include "host_tests.h"
#include "random.h"
#include "typed_buffer.h"

namespace pararnn {
namespace {

constexpr int kThreads = 64;

void check(Checks& checks, DType dtype, int64_t size, fibers::Order order, Random& random) {
  using namespace PARARNN_ISA;
  checks.about("silu_mul, %lld elements, type %d", static_cast<long long>(size), int(dtype));
  // Also where expf overflows and where its result vanishes.
  TypedBuffer gate(dtype, random.numbers(size, 120.0f)), up(dtype, random.numbers(size, 2.0f));
  TypedBuffer out(dtype, size);
  const SiluMulParams p{1, size, dtype, gate.data(), size, up.data(), size, out.data()};
  for_scalar(dtype, [&](auto scalar) {
    using Scalar = decltype(scalar);
    constexpr int kPack = 16 / sizeof(Scalar);
    if (moves_packs(p, kPack)) {
      fibers::run_grid(silu_mul_blocks<kPack, kThreads>(p), kThreads, order,
                       [&] { silu_mul_block<Scalar, kPack, kThreads>(p); });
    } else {
      fibers::run_grid(silu_mul_blocks<1, kThreads>(p), kThreads, order,
                       [&] { silu_mul_block<Scalar, 1, kThreads>(p); });
    }
  });
  std::vector<double> want, bounds;
  for (int64_t i = 0; i < size; ++i) {
    want.push_back(silu_of(double(gate.values()[size_t(i)])) * double(up.values()[size_t(i)]));
    bounds.push_back(out.bound(want.back(), 1e-5 * (1.0 + std::fabs(want.back()))));
  }
  checks.close("out", out.values().data(), want, bounds);
}

}  // namespace

void test_silu_mul(Checks& checks) {
  Random random(47);
  for (const DType dtype : kTypes) {
    for (const fibers::Order order : kOrders) {
      for (const int64_t size : {0, 1, 7, 8, 64, 511, 512, 520, 1030})
        check(checks, dtype, size, order, random);
    }
  }
}

}  // namespace pararnn
