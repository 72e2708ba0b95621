// Rows of a quantised matrix as floats: each weight the product of integer and scale, rounded once.
#include "cuda/products/dequantize.cuh"
#include "exact_buffer.h"
#include "host_tests.h"
#include "plain_matrix.h"

namespace pararnn {
namespace {

// indices: none stands for all rows. The bits of what comes out.
template <class Bits>
std::vector<Bits> dequantize(const MatrixValues& matrix, const std::vector<int64_t>& indices) {
  using namespace PARARNN_ISA;
  Exact<uint8_t> bytes(matrix.bytes);
  Exact<uint16_t> scales(matrix.scales);
  Exact<int64_t> chosen(indices);
  const int64_t rows = indices.empty() ? matrix.rows() : int64_t(indices.size());
  Exact<Bits> out(rows * matrix.shape.inputs);
  const DType dtype = sizeof(Bits) == 4 ? DType::kFloat32 : DType::kBFloat16;
  const DequantizeParams p{matrix.described(bytes.data(), scales.data()), rows,
                           indices.empty() ? nullptr : chosen.data(), dtype, out.data()};
  for_dequantize(p, [&](auto bits, auto type) {
    fibers::run_grid(dequantize_blocks(p), kDequantizeThreads, fibers::Order::kShuffled,
                     [&] { dequantize_block<decltype(bits)::value, decltype(type)>(p); });
  });
  return out.copy();
}

void check(Checks& checks, const MatrixValues& matrix, const std::vector<int64_t>& indices) {
  using namespace PARARNN_ISA;
  checks.about("dequantize, %s, %zu rows", matrix.text().c_str(), indices.size());
  std::vector<uint32_t> wide;
  std::vector<uint16_t> narrowed;
  const int64_t rows = indices.empty() ? matrix.rows() : int64_t(indices.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < matrix.shape.inputs; ++k) {
      // An integer of 8 bits times a scale of 8 bits has no more than 16: float32 holds it.
      const float weight = float(matrix.weight(indices.empty() ? i : indices[size_t(i)], k));
      uint32_t bits;
      std::memcpy(&bits, &weight, sizeof(bits));
      wide.push_back(bits);
      narrowed.push_back(narrow(weight).bits);
    }
  }
  checks.that(dequantize<uint32_t>(matrix, indices) == wide, "float32");
  checks.that(dequantize<uint16_t>(matrix, indices) == narrowed, "bfloat16");
}

}  // namespace

void test_dequantize(Checks& checks) {
  Random random(43);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const int64_t group_size : {16, 32, 48, 128, 1024}) {
      for (const int64_t inputs : {32, 160, 1056}) {
        const MatrixValues matrix({1, 1, inputs, 7}, format, group_size, random);
        check(checks, matrix, {});
        check(checks, matrix, {6, 0, 3, 3});
      }
    }
  }
}

}  // namespace pararnn
