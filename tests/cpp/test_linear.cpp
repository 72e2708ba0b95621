// Products with float weights: within the error of a sum of their length, and the same bits in every batch.
#include "product_bits.h"
#include "tests.h"
#include "weights.h"

namespace pararnn {
namespace {

constexpr BlockShape kShapes[] = {{1, 1, 1, 1},    {1, 1, 1, 16},  {1, 1, 33, 17}, {1, 1, 300, 100},
                                  {1, 1, 257, 48}, {2, 3, 5, 3},   {3, 1, 70, 15}, {4, 3, 24, 17},
                                  {1, 2, 600, 33}, {1, 1, 16, 129}};
constexpr int64_t kRows[] = {1, 2, 3, 5, 7, 8, 9, 17, 41, 70};
constexpr double kRounding = 1.0 / (1 << 24);

void check_values(const Level& level, Checks& checks, const Weight& weight, const Packed& packed,
                  int64_t rows, const std::vector<float>& x, const std::vector<float>& bias) {
  const BlockShape& shape = weight.shape();
  const std::vector<float> got = product(level, packed.matrix(), rows, x, bias);
  std::vector<double> want(got.size()), bounds(got.size());
  for_each_result(shape, rows, [&](int64_t row, int64_t head, int64_t gate, int64_t output, int64_t at) {
    const float* const inputs = x.data() + (row * shape.heads + head) * shape.inputs;
    const double* const numbers = weight.numbers.data() + weight.row(head, gate, output) * shape.inputs;
    double sum = 0.0, size = 0.0;
    for (int64_t k = 0; k < shape.inputs; ++k) {
      sum += double(inputs[k]) * numbers[k];
      size += std::fabs(double(inputs[k]) * numbers[k]);
    }
    const double added =
        bias.empty() ? 0.0 : double(bias[size_t((gate * shape.heads + head) * shape.outputs + output)]);
    want[size_t(at)] = sum + added;
    // One rounding for each product, each addition and the bias.
    bounds[size_t(at)] = double(shape.inputs + 2) * kRounding * 1.01 * (size + std::fabs(added)) + 1e-37;
  });
  checks.close("out", got.data(), want, bounds);
}

}  // namespace

void test_linear(const Level& level, Checks& checks) {
  Random random(2);
  for (const WeightFormat format : {WeightFormat::kFloat32, WeightFormat::kBFloat16}) {
    for (const BlockShape& shape : kShapes) {
      const Weight weight = float_weight(random, shape, format);
      const Packed packed(level, weight);
      for (const int64_t rows : kRows) {
        checks.about("linear at %s, format %d, %lld rows, %lld x %lld", level.name.c_str(), int(format),
                     (long long)rows, (long long)shape.inputs, (long long)shape.outputs);
        const std::vector<float> x = random.numbers(rows * shape.heads * shape.inputs);
        const std::vector<float> bias = random.numbers(shape.gates * shape.heads * shape.outputs);
        check_values(level, checks, weight, packed, rows, x, bias);
        check_values(level, checks, weight, packed, rows, x, {});
      }
    }
    for (const BlockShape& shape : {BlockShape{1, 1, 300, 83}, BlockShape{3, 2, 35, 40}}) {
      checks.about("bits of linear at %s, format %d", level.name.c_str(), int(format));
      const Packed packed(level, float_weight(random, shape, format));
      const std::vector<float> x = random.numbers(70 * shape.heads * shape.inputs);
      const std::vector<float> bias = random.numbers(shape.gates * shape.heads * shape.outputs);
      check_bits_of_batches(level, checks, packed.matrix(), 70, x, bias);
    }
    checks.about("linear at %s, format %d, more rows than a panel", level.name.c_str(), int(format));
    const Weight weight = float_weight(random, {1, 1, 17, 5}, format);
    check_values(level, checks, weight, Packed(level, weight), 1030, random.numbers(1030 * 17), {});
  }
}

}  // namespace pararnn
