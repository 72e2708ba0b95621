// Weights for the tests: as they stand in a file, as plain numbers, and packed by a level.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "bfloat16.h"
#include "exact_buffer.h"
#include "levels.h"
#include "random.h"

namespace pararnn {

// Towards zero: the test needs bfloat16 numbers, not the nearest ones.
inline uint16_t narrowed(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof(word));
  return uint16_t(word >> 16);
}

// rows = heads * gates * outputs, in this order. scales and values are those of integers; numbers are the
// weights themselves, (rows, inputs).
struct Weight {
  PackedMatrix matrix;
  int64_t row_bytes;
  std::vector<uint8_t> plain;
  std::vector<uint16_t> scales;
  std::vector<int> values;
  std::vector<double> numbers;

  const BlockShape& shape() const { return matrix.shape; }
  int64_t rows() const { return shape().heads * shape().gates * shape().outputs; }
  int64_t groups() const { return is_quantized(matrix.format) ? groups_per_row(matrix) : 0; }
  int64_t row(int64_t head, int64_t gate, int64_t output) const {
    return (head * shape().gates + gate) * shape().outputs + output;
  }

  PackParams pack_params(void* its_plain, void* its_scales, void* packed) const {
    PackParams params{};
    params.matrix = matrix;
    params.input_stride = 1;
    params.output_stride = shape().inputs;
    params.gate_stride = shape().outputs * shape().inputs;
    params.head_stride = shape().gates * params.gate_stride;
    params.row_bytes = row_bytes;
    params.plain = its_plain;
    params.scales = its_scales;
    params.packed = packed;
    return params;
  }
};

Weight float_weight(Random& random, const BlockShape& shape, WeightFormat format);

// unit_scales: every scale is 1, so that products with integers are integers.
Weight integer_weight(Random& random, const BlockShape& shape, WeightFormat format, int64_t group_size,
                      bool unit_scales = false);

// A weight that `level` has packed, in memory that ends where the last tile ends.
class Packed {
 public:
  Packed(const Level& level, const Weight& weight)
      : buffer_(packed_bytes(weight.matrix)), matrix_(weight.matrix) {
    Exact<uint8_t> plain(weight.plain);
    Exact<uint16_t> scales(weight.scales);
    level.pack_matrix(weight.pack_params(plain.data(), scales.data(), buffer_.data()));
    matrix_.data = buffer_.data();
  }

  const PackedMatrix& matrix() const { return matrix_; }
  Exact<uint8_t>& bytes() { return buffer_; }

 private:
  Exact<uint8_t> buffer_;
  PackedMatrix matrix_;
};

}  // namespace pararnn
