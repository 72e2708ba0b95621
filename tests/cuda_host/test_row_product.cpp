// Products of few rows against float64: every format, ragged everywhere.
#include <cmath>

#include "cuda/products/row_product.cuh"
#include "exact_buffer.h"
#include "host_tests.h"
#include "plain_matrix.h"

namespace pararnn {
namespace {

using fibers::Order;

// bfloat16, (rows, width).
struct Rows {
  int64_t count, width;
  std::vector<uint16_t> bits;

  Rows(int64_t its_count, int64_t its_width, Random& random) : count(its_count), width(its_width) {
    for (int64_t i = 0; i < count * width; ++i) bits.push_back(PARARNN_ISA::narrow(random.number()).bits);
  }

  double at(int64_t row, int64_t k) const {
    return double(PARARNN_ISA::widen(PARARNN_ISA::BFloat16{bits[size_t(row * width + k)]}));
  }
  void set(int64_t row, int64_t k, float value) {
    bits[size_t(row * width + k)] = PARARNN_ISA::narrow(value).bits;
  }
  Rows alone(int64_t row) const {
    Rows out(*this);
    out.count = 1;
    out.bits.assign(bits.begin() + row * width, bits.begin() + (row + 1) * width);
    return out;
  }
};

// Memory of exact size; Out: float or uint16_t, the bits of bfloat16.
template <class Out>
std::vector<Out> product(const MatrixValues& matrix, const Rows& x, Order order) {
  using namespace PARARNN_ISA;
  Exact<uint8_t> bytes(matrix.bytes);
  Exact<uint16_t> scales(matrix.scales), inputs(x.bits);
  Exact<Out> out(x.count * matrix.rows());
  const DType dtype = std::is_same<Out, float>::value ? DType::kFloat32 : DType::kBFloat16;
  const RowProductParams p{matrix.described(bytes.data(), scales.data()), x.count, inputs.data(), dtype,
                           out.data()};
  for_row_product(p, [&](auto format, auto shared, auto tiles) {
    constexpr int kTiles = decltype(tiles)::value;
    fibers::run_grid(row_product_blocks<kTiles>(matrix.shape), kProductThreads, order,
                     [&] { row_product_block<decltype(format), decltype(shared)::value, kTiles>(p); });
  });
  return out.copy();
}

struct Exactly {
  std::vector<double> products, sizes;  // sizes: sums of the terms' sizes

  Exactly(const MatrixValues& matrix, const Rows& x) {
    const BlockShape& shape = matrix.shape;
    for (int64_t t = 0; t < x.count; ++t) {
      for (int64_t gate = 0; gate < shape.gates; ++gate) {
        for (int64_t i = 0; i < shape.heads * shape.outputs; ++i) {
          const int64_t head = i / shape.outputs;
          const int64_t row = (head * shape.gates + gate) * shape.outputs + i % shape.outputs;
          double sum = 0.0, size = 0.0;
          for (int64_t k = 0; k < shape.inputs; ++k) {
            const double term = matrix.weight(row, k) * x.at(t, head * shape.inputs + k);
            sum += term;
            size += std::fabs(term);
          }
          products.push_back(sum);
          sizes.push_back(size);
        }
      }
    }
  }

  std::vector<double> bounds(double relative) const {
    std::vector<double> out;
    for (const double size : sizes) out.push_back(relative * size);
    return out;
  }
};

constexpr double kOfSums = 1e-6, kOfNarrow = 4e-3;

void check(Checks& checks, const MatrixValues& matrix, int64_t count, Order order, Random& random) {
  checks.about("row_product, %s, %lld rows, order %d", matrix.text().c_str(), static_cast<long long>(count),
               int(order));
  const Rows x(count, matrix.shape.heads * matrix.shape.inputs, random);
  const Exactly want(matrix, x);
  const std::vector<float> got = product<float>(matrix, x, order);
  checks.close("out", got.data(), want.products, want.bounds(kOfSums));
  if (count == 0) return;

  // The same, rounded once.
  const int64_t row = random.integer(0, count - 1);
  const std::vector<uint16_t> narrowed = product<uint16_t>(matrix, x.alone(row), order);
  bool all = true;
  for (size_t i = 0; i < narrowed.size(); ++i)
    all = all && narrowed[i] == PARARNN_ISA::narrow(got[size_t(row) * narrowed.size() + i]).bits;
  checks.that(all, "a row alone has the bits that it has among others");
}

void check_every_count(Checks& checks, const MatrixValues& matrix, Random& random) {
  int next = 0;
  for (const int64_t count : {1, 2, 7, 8, 9, 16, 17, 32, 33, 63, 64})
    check(checks, matrix, count, kOrders[next++ % 3], random);
}

void check_not_a_number(Checks& checks, const MatrixValues& matrix, Random& random) {
  checks.about("row_product, %s, no number among the inputs", matrix.text().c_str());
  Rows x(3, matrix.shape.heads * matrix.shape.inputs, random);
  const std::vector<float> before = product<float>(matrix, x, Order::kAscending);
  x.set(1, matrix.shape.inputs - 1, NAN);
  const std::vector<float> after = product<float>(matrix, x, Order::kAscending);
  bool same = true, gone = true;
  for (int64_t i = 0; i < 3 * matrix.rows(); ++i) {
    const bool is_reached =
        i / matrix.rows() == 1 && i % (matrix.shape.heads * matrix.shape.outputs) < matrix.shape.outputs;
    if (is_reached) {
      gone = gone && std::isnan(after[size_t(i)]);
    } else {
      same = same && after[size_t(i)] == before[size_t(i)];
    }
  }
  checks.that(gone, "its row has none left where the head sees it");
  checks.that(same, "other rows and heads do not notice");
}

}  // namespace

void test_row_product(Checks& checks) {
  Random random(42);
  const auto matrix = [&](WeightFormat format, int64_t group_size, int64_t heads, int64_t gates,
                          int64_t outputs, int64_t inputs) {
    return MatrixValues({heads, gates, inputs, outputs}, format, group_size, random);
  };
  // One scale a slice, several, and groups that no power of two divides; ragged last slices and groups; more
  // slices than warps; rows that end within a tile, blocks that begin a head.
  const std::vector<MatrixValues> matrices{
      matrix(WeightFormat::kInt8, 64, 1, 1, 21, 96),    matrix(WeightFormat::kInt8, 16, 2, 3, 11, 96),
      matrix(WeightFormat::kInt8, 48, 1, 1, 5, 160),    matrix(WeightFormat::kInt8, 128, 3, 1, 17, 32),
      matrix(WeightFormat::kInt4, 128, 1, 1, 21, 160),  matrix(WeightFormat::kInt4, 32, 2, 3, 11, 96),
      matrix(WeightFormat::kInt4, 96, 1, 1, 5, 224),    matrix(WeightFormat::kInt4, 64, 3, 1, 17, 32),
      matrix(WeightFormat::kBFloat16, 0, 2, 3, 11, 96), matrix(WeightFormat::kBFloat16, 0, 1, 1, 33, 32)};
  for (const MatrixValues& each : matrices) {
    check_every_count(checks, each, random);
    check_not_a_number(checks, each, random);
  }
  for (const MatrixValues& each :
       {matrix(WeightFormat::kInt8, 1024, 1, 1, 9, 2080), matrix(WeightFormat::kInt8, 32, 1, 1, 9, 1120),
        matrix(WeightFormat::kInt4, 1024, 1, 1, 9, 3104), matrix(WeightFormat::kInt4, 32, 1, 1, 9, 2208),
        matrix(WeightFormat::kBFloat16, 0, 1, 1, 9, 544)}) {
    for (const int64_t count : {0, 1, 9, 40}) check(checks, each, count, Order::kShuffled, random);
  }
}

}  // namespace pararnn
