// A row's results have the same bits alone, in every batch and at any number of threads.
#pragma once

#include "checks.h"
#include "products.h"
#include "thread_count.h"

namespace pararnn {

// x: (rows, heads * inputs).
inline void check_bits_of_batches(const Level& level, Checks& checks, const PackedMatrix& weight,
                                  int64_t rows, const std::vector<float>& x, const std::vector<float>& bias) {
  const BlockShape& shape = weight.shape;
  const int64_t width = shape.heads * shape.inputs, results = shape.gates * shape.heads * shape.outputs;
  std::vector<float> alone;
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<float> one = product(level, weight, 1, rows_of(x, width, row, row + 1), bias);
    alone.insert(alone.end(), one.begin(), one.end());
  }
  const ThreadCount restored;
  for (int64_t batch = 1; batch <= rows; ++batch) {
    set_num_threads(1 + batch % 4);
    const std::vector<float> first = product(level, weight, batch, rows_of(x, width, 0, batch), bias);
    checks.same_bits("the first rows", first.data(), alone.data(), batch * results * 4);
    const std::vector<float> last =
        product(level, weight, batch, rows_of(x, width, rows - batch, rows), bias);
    checks.same_bits("the last rows", last.data(), alone.data() + (rows - batch) * results,
                     batch * results * 4);
  }
  for (int64_t threads = 1; threads <= 4; ++threads) {
    set_num_threads(threads);
    const std::vector<float> all = product(level, weight, rows, x, bias);
    checks.same_bits("all rows at any number of threads", all.data(), alone.data(), rows * results * 4);
  }
}

}  // namespace pararnn
