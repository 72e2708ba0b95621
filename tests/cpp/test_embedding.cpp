#include "tests.h"
#include "weights.h"

namespace pararnn {
namespace {

// The rows of the weight themselves: every product of an integer and a scale is a float.
void check_rows(const Level& level, Checks& checks, const Weight& weight, int64_t rows, Random& random) {
  const Packed packed(level, weight);
  const int64_t inputs = weight.shape().inputs, outputs = weight.shape().outputs;
  Exact<int64_t> tokens(rows);
  for (int64_t i = 0; i < rows; ++i) tokens[i] = random.integer(0, outputs - 1);
  tokens[rows - 1] = outputs - 1;
  Exact<float> out(rows * inputs);
  level.embedding({packed.matrix(), rows, tokens.data(), out.data()});
  bool equal = true;
  for (int64_t i = 0; i < rows * inputs; ++i)
    equal = equal && double(out[i]) == weight.numbers[size_t(tokens[i / inputs] * inputs + i % inputs)];
  checks.that(equal, "rows");
}

}  // namespace

void test_embedding(const Level& level, Checks& checks) {
  Random random(4);
  for (const int64_t inputs : {1, 2, 15, 17, 64, 100, 385}) {
    for (const int64_t outputs : {1, 16, 50}) {
      for (const int64_t rows : {1, 5, 70}) {
        checks.about("embedding at %s, %lld of %lld rows of %lld", level.name.c_str(), (long long)rows,
                     (long long)outputs, (long long)inputs);
        const BlockShape shape{1, 1, inputs, outputs};
        check_rows(level, checks, float_weight(random, shape, WeightFormat::kFloat32), rows, random);
        check_rows(level, checks, float_weight(random, shape, WeightFormat::kBFloat16), rows, random);
        for (const int64_t group_size : {16, 32, 1024}) {
          check_rows(level, checks, integer_weight(random, shape, WeightFormat::kInt8, group_size), rows,
                     random);
          check_rows(level, checks, integer_weight(random, shape, WeightFormat::kInt4, group_size), rows,
                     random);
        }
      }
    }
  }
}

}  // namespace pararnn
