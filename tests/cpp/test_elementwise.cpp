// Norms, gates and sums against float64, each number within the roundings that its way there has.
#include <cmath>

#include "exact_buffer.h"
#include "random.h"
#include "tests.h"

namespace pararnn {
namespace {

constexpr double kRounding = 1.0 / (1 << 24);
constexpr double kTiny = 1e-37;
constexpr float kEps = 1e-6f;
constexpr int64_t kRows[] = {1, 3, 70};
constexpr int64_t kWidths[] = {1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 130, 385};

double silu(double x) { return x / (1.0 + std::exp(-x)); }

// A scale has half the relative error of the sum of squares, which at most width / 64 + 8 additions have;
// with the square, the mean, the root, the reciprocal and the products: 16 more.
double norm_roundings(int64_t width) { return double(width) / 64.0 + 24.0; }

// x (rows, width) normalised by its own rows and weighed.
std::vector<double> normed(const std::vector<double>& x, const std::vector<float>& weight, int64_t width) {
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += size_t(width)) {
    double squares = 0.0;
    for (size_t i = row; i < row + size_t(width); ++i) squares += x[i] * x[i];
    const double scale = 1.0 / std::sqrt(squares / double(width) + double(kEps));
    for (size_t i = row; i < row + size_t(width); ++i) out[i] = x[i] * scale * double(weight[i - row]);
  }
  return out;
}

std::vector<double> bounds_of(const std::vector<double>& want, double roundings) {
  std::vector<double> bounds;
  for (const double each : want) bounds.push_back(std::fabs(each) * roundings * kRounding + kTiny);
  return bounds;
}

void check_rms_norm(const Level& level, Checks& checks, int64_t rows, int64_t width, Random& random) {
  const std::vector<float> x = random.numbers(rows * width, 3.0f), weight = random.numbers(width);
  Exact<float> its_x(x), its_weight(weight), out(rows * width);
  level.rms_norm({rows, width, its_x.data(), its_weight.data(), kEps, out.data()});
  const std::vector<double> want = normed(std::vector<double>(x.begin(), x.end()), weight, width);
  checks.close("rms_norm", out.data(), want, bounds_of(want, norm_roundings(width)));
}

void check_gated_rms_norm(const Level& level, Checks& checks, int64_t rows, int64_t width, GateOrder order,
                          Random& random) {
  const int64_t stride = width + 3;
  const std::vector<float> y = random.numbers(rows * width, 3.0f), weight = random.numbers(width);
  const std::vector<float> gate = random.numbers((rows - 1) * stride + width, 4.0f);
  Exact<float> its_y(y), its_gate(gate), its_weight(weight), out(rows * width);
  level.gated_rms_norm({rows, width, its_y.data(), DType::kFloat32, its_gate.data(), stride,
                        its_weight.data(), kEps, order, out.data()});
  std::vector<double> want(y.begin(), y.end()), gates;
  for (int64_t i = 0; i < rows * width; ++i)
    gates.push_back(silu(double(gate[size_t(i / width * stride + i % width)])));
  const bool first = order == GateOrder::kGateThenNorm;
  for (size_t i = 0; i < want.size() && first; ++i) want[i] *= gates[i];
  want = normed(want, weight, width);
  for (size_t i = 0; i < want.size() && !first; ++i) want[i] *= gates[i];
  checks.close("gated_rms_norm", out.data(), want, bounds_of(want, norm_roundings(width) + 20.0));
}

void check_silu_mul(const Level& level, Checks& checks, int64_t rows, int64_t width, Random& random) {
  const int64_t gate_stride = 2 * width, up_stride = width + 1;
  const std::vector<float> gate = random.numbers((rows - 1) * gate_stride + width, 20.0f);
  const std::vector<float> up = random.numbers((rows - 1) * up_stride + width, 4.0f);
  Exact<float> its_gate(gate), its_up(up), out(rows * width);
  level.silu_mul(
      {rows, width, DType::kFloat32, its_gate.data(), gate_stride, its_up.data(), up_stride, out.data()});
  std::vector<double> want;
  for (int64_t i = 0; i < rows * width; ++i) {
    const int64_t row = i / width, at = i % width;
    want.push_back(silu(double(gate[size_t(row * gate_stride + at)])) *
                   double(up[size_t(row * up_stride + at)]));
  }
  checks.close("silu_mul", out.data(), want, bounds_of(want, 10.0));
}

void check_add_scaled(const Level& level, Checks& checks, int64_t size, bool scaled, Random& random) {
  const std::vector<float> x = random.numbers(size), y = random.numbers(size), scale{random.number(2.0f)};
  Exact<float> its_x(x), its_y(y), its_scale(scale), out(size);
  level.add_scaled({size, its_x.data(), scaled ? its_scale.data() : nullptr, its_y.data(), out.data()});
  std::vector<double> want, bounds;
  for (size_t i = 0; i < x.size(); ++i) {
    const double product = double(x[i]) * (scaled ? double(scale[0]) : 1.0);
    want.push_back(product + double(y[i]));
    bounds.push_back(2.0 * kRounding * (std::fabs(product) + std::fabs(double(y[i]))) + kTiny);
  }
  checks.close("add_scaled", out.data(), want, bounds);
}

void check_sum_rows(const Level& level, Checks& checks, int64_t rows, int64_t size, Random& random) {
  const int64_t stride = size + 2;
  const std::vector<float> in = random.numbers((rows - 1) * stride + size);
  Exact<float> its_in(in), out(size);
  level.sum_rows({rows, size, stride, its_in.data(), out.data()});
  // In the order of the rows: the very same additions.
  std::vector<float> want(size_t(size), 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < size; ++i) want[size_t(i)] += in[size_t(row * stride + i)];
  }
  checks.same_bits("sum_rows", out.data(), want.data(), size * 4);
}

}  // namespace

void test_elementwise(const Level& level, Checks& checks) {
  Random random(8);
  for (const int64_t rows : kRows) {
    for (const int64_t width : kWidths) {
      checks.about("%lld x %lld at %s", (long long)rows, (long long)width, level.name.c_str());
      check_rms_norm(level, checks, rows, width, random);
      check_gated_rms_norm(level, checks, rows, width, GateOrder::kGateThenNorm, random);
      check_gated_rms_norm(level, checks, rows, width, GateOrder::kNormThenGate, random);
      check_silu_mul(level, checks, rows, width, random);
      check_add_scaled(level, checks, rows * width, true, random);
      check_add_scaled(level, checks, rows * width, false, random);
      check_sum_rows(level, checks, rows, width, random);
    }
  }
}

}  // namespace pararnn
