// Running a product on memory of exact size.
#pragma once

#include <vector>

#include "exact_buffer.h"
#include "fresh_thread.h"
#include "levels.h"

namespace pararnn {

// x: (rows, heads * inputs); bias: (gates, heads * outputs) or empty. Returns (rows, gates, heads * outputs).
inline std::vector<float> product(const Level& level, const PackedMatrix& weight, int64_t rows,
                                  const std::vector<float>& x, const std::vector<float>& bias) {
  Exact<float> its_x(x), its_bias(bias);
  Exact<float> out(rows * weight.shape.gates * weight.shape.heads * weight.shape.outputs);
  in_fresh_thread([&] {
    level.linear({weight, rows, its_x.data(), bias.empty() ? nullptr : its_bias.data(), out.data()});
  });
  return out.copy();
}

inline std::vector<float> rows_of(const std::vector<float>& x, int64_t width, int64_t begin, int64_t end) {
  return std::vector<float>(x.begin() + begin * width, x.begin() + end * width);
}

// Calls f(row, head, gate, output, index of the result) for every result.
template <class F>
void for_each_result(const BlockShape& shape, int64_t rows, const F& f) {
  int64_t at = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t gate = 0; gate < shape.gates; ++gate) {
      for (int64_t head = 0; head < shape.heads; ++head) {
        for (int64_t output = 0; output < shape.outputs; ++output) f(row, head, gate, output, at++);
      }
    }
  }
}

}  // namespace pararnn
