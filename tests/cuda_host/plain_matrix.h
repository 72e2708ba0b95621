// A random matrix as a checkpoint holds it, and its weights.
#pragma once

#include <string>
#include <vector>

#include "cuda/widen.h"
#include "params/params.h"
#include "random.h"

namespace pararnn {

struct MatrixValues {
  BlockShape shape;
  WeightFormat format;
  int64_t group_size;
  std::vector<uint8_t> bytes{};
  std::vector<uint16_t> scales{};
  std::vector<float> weights{};  // without scales

  // One weight in eight is the smallest of its format or the largest.
  MatrixValues(const BlockShape& its_shape, WeightFormat its_format, int64_t its_group_size, Random& random)
      : shape(its_shape), format(its_format), group_size(its_group_size) {
    using namespace PARARNN_ISA;
    for (int64_t row = 0; row < rows(); ++row) {
      for (int64_t group = 0; group < groups(); ++group) scales.push_back(narrow(random.number(0.1f)).bits);
      for (int64_t input = 0; input < shape.inputs; ++input) add(random);
    }
  }

  int64_t rows() const { return shape.heads * shape.gates * shape.outputs; }
  int64_t groups() const { return group_size == 0 ? 0 : (shape.inputs + group_size - 1) / group_size; }

  double weight(int64_t row, int64_t input) const {
    const double value = double(weights[size_t(row * shape.inputs + input)]);
    if (group_size == 0) return value;
    return value * double(PARARNN_ISA::widen(
                       PARARNN_ISA::BFloat16{scales[size_t(row * groups() + input / group_size)]}));
  }

  // The pointers are those of copies.
  PlainMatrix described(const void* data, const uint16_t* scales_data) const {
    return {shape, format, group_size, data, group_size == 0 ? nullptr : scales_data};
  }

  std::string text() const {
    return "format " + std::to_string(int(format)) + ", groups of " + std::to_string(group_size) + ", " +
           std::to_string(shape.heads) + " x " + std::to_string(shape.gates) + " x (" +
           std::to_string(shape.outputs) + ", " + std::to_string(shape.inputs) + ")";
  }

 private:
  void add(Random& random) {
    using namespace PARARNN_ISA;
    if (format == WeightFormat::kBFloat16) {
      const BFloat16 value = narrow(random.number());
      weights.push_back(widen(value));
      bytes.push_back(uint8_t(value.bits));
      bytes.push_back(uint8_t(value.bits >> 8));
      return;
    }
    const int64_t low = format == WeightFormat::kInt8 ? -127 : -8;
    const int64_t high = format == WeightFormat::kInt8 ? 127 : 7;
    const int64_t choice = random.integer(0, 15);
    const int64_t value = choice == 0 ? low : choice == 1 ? high : random.integer(low, high);
    if (format == WeightFormat::kInt8) {
      bytes.push_back(uint8_t(value));
    } else if (weights.size() % 2 == 0) {
      bytes.push_back(uint8_t(value + 8));
    } else {
      bytes.back() = uint8_t(bytes.back() | (value + 8) << 4);
    }
    weights.push_back(float(value));
  }
};

}  // namespace pararnn
