// Products with integer weights: integers exactly, scaled ones within the error of the sum over groups, and
// the same bits in every batch.
#include <limits>

#include "product_bits.h"
#include "tests.h"
#include "weights.h"

namespace pararnn {
namespace {

struct Shape {
  BlockShape block;
  int64_t group_size;
};

constexpr Shape kShapes[] = {{{1, 1, 1, 1}, 16},    {{1, 1, 16, 16}, 16},   {{1, 1, 33, 17}, 16},
                             {{1, 1, 300, 70}, 32}, {{1, 1, 257, 48}, 128}, {{1, 1, 1100, 33}, 1024},
                             {{1, 1, 64, 130}, 48}, {{1, 1, 1023, 5}, 144}, {{2, 3, 48, 16}, 32},
                             {{4, 3, 130, 17}, 64}, {{3, 1, 70, 15}, 1024}, {{1, 2, 40, 33}, 16},
                             {{2, 3, 35, 100}, 32}};
constexpr int64_t kRows[] = {1, 2, 3, 4, 5, 7, 8, 9, 17, 41, 70};
constexpr double kRounding = 1.0 / (1 << 24);

struct QuantizedRow {
  std::vector<int> values;
  std::vector<float> scales;
};

// As pararnn_core/quantized_matrix.py says it, one number at a time.
QuantizedRow quantized(const float* x, int64_t inputs, int64_t group_size) {
  QuantizedRow row;
  for (int64_t begin = 0; begin < inputs; begin += group_size) {
    const int64_t end = begin + group_size < inputs ? begin + group_size : inputs;
    float largest = 0.0f;
    for (int64_t k = begin; k < end; ++k) largest = std::fmax(largest, std::fabs(x[k]));
    const float factor = 127.0f / largest;
    for (int64_t k = begin; k < end; ++k) {
      row.values.push_back(std::isfinite(factor) ? int(std::nearbyintf(x[k] * factor)) : 0);
    }
    row.scales.push_back(largest / 127.0f);
  }
  return row;
}

void check_values(const Level& level, Checks& checks, const Weight& weight, const Packed& packed,
                  int64_t rows, const std::vector<float>& x, const std::vector<float>& bias) {
  const BlockShape& shape = weight.shape();
  const int64_t group_size = weight.matrix.group_size, groups = weight.groups();
  const std::vector<float> got = product(level, packed.matrix(), rows, x, bias);
  std::vector<QuantizedRow> quantized_rows;
  for (int64_t part = 0; part < rows * shape.heads; ++part)
    quantized_rows.push_back(quantized(x.data() + part * shape.inputs, shape.inputs, group_size));
  std::vector<double> want(got.size()), bounds(got.size());
  for_each_result(shape, rows, [&](int64_t row, int64_t head, int64_t gate, int64_t output, int64_t at) {
    const QuantizedRow& inputs = quantized_rows[size_t(row * shape.heads + head)];
    const int64_t weight_row = weight.row(head, gate, output);
    double sum = 0.0, size = 0.0;
    for (int64_t group = 0; group < groups; ++group) {
      int64_t products = 0;
      for (int64_t k = group * group_size; k < shape.inputs && k < (group + 1) * group_size; ++k)
        products += inputs.values[size_t(k)] * weight.values[size_t(weight_row * shape.inputs + k)];
      const double scale = double(widened(weight.scales[size_t(weight_row * groups + group)]));
      sum += double(products) * scale * double(inputs.scales[size_t(group)]);
      size += std::fabs(double(products) * scale * double(inputs.scales[size_t(group)]));
    }
    const double added =
        bias.empty() ? 0.0 : double(bias[size_t((gate * shape.heads + head) * shape.outputs + output)]);
    want[size_t(at)] = sum + added;
    // For each group the product of the scales, the product with the sum, and the addition; then the bias.
    bounds[size_t(at)] = double(groups + 3) * kRounding * 1.01 * (size + std::fabs(added)) + 1e-37;
  });
  checks.close("out", got.data(), want, bounds);
}

// Activations that are integers up to 127 in every group, in some rows 127 or -127 alone, scales of 1: the
// result is the integer itself.
void check_integers(const Level& level, Checks& checks, const Weight& weight, const Packed& packed,
                    int64_t rows, Random& random) {
  const BlockShape& shape = weight.shape();
  std::vector<float> x(size_t(rows * shape.heads * shape.inputs));
  int64_t kind_of_row = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t k = int64_t(i) % shape.inputs;
    if (k == 0) kind_of_row = random.integer(0, 3);
    const bool first_of_group = k % weight.matrix.group_size == 0;
    const int64_t kind = kind_of_row < 2  ? kind_of_row
                         : first_of_group ? random.integer(0, 1)
                                          : random.integer(0, 7);
    x[i] = kind == 0 ? 127.0f : kind == 1 ? -127.0f : float(random.integer(-127, 127));
  }
  const std::vector<float> got = product(level, packed.matrix(), rows, x, {});
  bool exact = true;
  for_each_result(shape, rows, [&](int64_t row, int64_t head, int64_t gate, int64_t output, int64_t at) {
    int64_t sum = 0;
    for (int64_t k = 0; k < shape.inputs; ++k) {
      sum += int64_t(x[size_t((row * shape.heads + head) * shape.inputs + k)]) *
             weight.values[size_t(weight.row(head, gate, output) * shape.inputs + k)];
    }
    exact = exact && got[size_t(at)] == float(sum);
  });
  checks.that(exact, "integers");
}

// A row that is not finite gives NaN and no other row knows; a row of nothing but zeros or subnormals gives
// 0.
void check_special_rows(const Level& level, Checks& checks, const Weight& weight, const Packed& packed,
                        Random& random) {
  const int64_t inputs = weight.shape().inputs, outputs = weight.shape().outputs;
  const std::vector<float> plain = random.numbers(9 * inputs);
  const std::vector<float> clean = product(level, packed.matrix(), 9, plain, {});
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = plain;
    x[size_t(4 * inputs + inputs - 1)] = value;
    std::vector<float> got = product(level, packed.matrix(), 9, x, {});
    bool lost = true;
    for (int64_t i = 4 * outputs; i < 5 * outputs; ++i) {
      lost = lost && std::isnan(got[size_t(i)]);
      got[size_t(i)] = clean[size_t(i)];
    }
    checks.that(lost, "a row that is not finite gives NaN");
    checks.same_bits("its neighbours", got.data(), clean.data(), 9 * outputs * 4);
  }
  for (const float tiny : {0.0f, -0.0f, 1e-40f}) {
    bool zero = true;
    for (const float each : product(level, packed.matrix(), 1, std::vector<float>(size_t(inputs), tiny), {}))
      zero = zero && each == 0.0f;
    checks.that(zero, "a row of zeros or subnormals gives 0");
  }
}

}  // namespace

void test_linear_quantized(const Level& level, Checks& checks) {
  Random random(3);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const Shape& shape : kShapes) {
      const Weight weight = integer_weight(random, shape.block, format, shape.group_size);
      const Weight plain = integer_weight(random, shape.block, format, shape.group_size, true);
      const Packed packed(level, weight), packed_plain(level, plain);
      for (const int64_t rows : kRows) {
        checks.about("linear_quantized at %s, format %d, %lld rows, %lld x %lld, groups of %lld",
                     level.name.c_str(), int(format), (long long)rows, (long long)shape.block.inputs,
                     (long long)shape.block.outputs, (long long)shape.group_size);
        const std::vector<float> x = random.numbers(rows * shape.block.heads * shape.block.inputs);
        check_values(level, checks, weight, packed, rows, x,
                     random.numbers(shape.block.gates * shape.block.heads * shape.block.outputs));
        check_values(level, checks, weight, packed, rows, x, {});
        check_integers(level, checks, plain, packed_plain, rows, random);
      }
    }
    for (const Shape& shape : {Shape{{1, 1, 300, 83}, 128}, Shape{{3, 2, 40, 40}, 32}}) {
      checks.about("bits of linear_quantized at %s, format %d", level.name.c_str(), int(format));
      const Packed packed(level, integer_weight(random, shape.block, format, shape.group_size));
      const std::vector<float> x = random.numbers(70 * shape.block.heads * shape.block.inputs);
      const std::vector<float> bias =
          random.numbers(shape.block.gates * shape.block.heads * shape.block.outputs);
      check_bits_of_batches(level, checks, packed.matrix(), 70, x, bias);
    }
    checks.about("linear_quantized at %s, format %d, rows that are special", level.name.c_str(), int(format));
    const Weight weight = integer_weight(random, {1, 1, 70, 33}, format, 32);
    const Packed packed(level, weight);
    check_special_rows(level, checks, weight, packed, random);
    checks.about("linear_quantized at %s, format %d, more rows than a panel", level.name.c_str(),
                 int(format));
    check_values(level, checks, weight, packed, 1030, random.numbers(1030 * 70), {});
  }
}

}  // namespace pararnn
