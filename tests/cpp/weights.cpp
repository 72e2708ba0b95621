#include "weights.h"

namespace pararnn {
namespace {

Weight empty_weight(const BlockShape& shape, WeightFormat format, int64_t group_size, int64_t row_bytes) {
  Weight weight{};
  weight.matrix = {shape, format, group_size, nullptr};
  weight.row_bytes = row_bytes;
  weight.plain.resize(size_t(weight.rows() * row_bytes));
  weight.numbers.resize(size_t(weight.rows() * shape.inputs));
  return weight;
}

void put(Weight& weight, int64_t row, int64_t input, int value) {
  uint8_t* const bytes = weight.plain.data() + row * weight.row_bytes;
  if (weight.matrix.format == WeightFormat::kInt8) {
    bytes[input] = uint8_t(value);
  } else {
    bytes[input / 2] = uint8_t(bytes[input / 2] | (value + 8) << input % 2 * 4);
  }
}

}  // namespace

Weight float_weight(Random& random, const BlockShape& shape, WeightFormat format) {
  const bool wide = format == WeightFormat::kFloat32;
  Weight weight = empty_weight(shape, format, 0, shape.inputs * (wide ? 4 : 2));
  for (size_t i = 0; i < weight.numbers.size(); ++i) {
    const float number = random.number();
    const uint16_t half = narrowed(number);
    weight.numbers[i] = double(wide ? number : widened(half));
    std::memcpy(weight.plain.data() + i * (wide ? 4 : 2), wide ? static_cast<const void*>(&number) : &half,
                wide ? 4 : 2);
  }
  return weight;
}

Weight integer_weight(Random& random, const BlockShape& shape, WeightFormat format, int64_t group_size,
                      bool unit_scales) {
  const bool bytes = format == WeightFormat::kInt8;
  Weight weight = empty_weight(shape, format, group_size, bytes ? shape.inputs : (shape.inputs + 1) / 2);
  weight.scales.resize(size_t(weight.rows() * weight.groups()));
  for (uint16_t& scale : weight.scales) scale = narrowed(unit_scales ? 1.0f : random.number(0.1f));
  weight.values.resize(weight.numbers.size());
  for (int64_t row = 0; row < weight.rows(); ++row) {
    // Often the ends of the range, and rows of nothing else: there sums overflow first.
    const int64_t kind_of_row = random.integer(0, 7);
    for (int64_t k = 0; k < shape.inputs; ++k) {
      const int low = bytes ? -127 : -8, high = bytes ? 127 : 7;
      const int64_t kind = kind_of_row < 2 ? kind_of_row : random.integer(0, 7);
      const int value = kind == 0 ? low : kind == 1 ? high : int(random.integer(low, high));
      put(weight, row, k, value);
      const size_t at = size_t(row * shape.inputs + k);
      weight.values[at] = value;
      weight.numbers[at] =
          value * double(widened(weight.scales[size_t(row * weight.groups() + k / group_size)]));
    }
    // Beyond the last of an odd number of inputs stands the nibble of 0.
    if (!bytes && shape.inputs % 2 != 0) put(weight, row, shape.inputs, 0);
  }
  return weight;
}

}  // namespace pararnn
