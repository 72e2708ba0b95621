// What the machine can do at most, and sums of rows.
#pragma once

#include <cstdint>

namespace pararnn {

// out[i] = sum over r of in[r * stride + i] for i < size, in the order of r.
struct SumRowsParams {
  int64_t rows;
  int64_t size;
  int64_t stride;
  const float* in;
  float* out;
};

// Reads whole lines of `parts` equal parts of data, each `passes` times; seen (parts) depends on what was
// read.
struct ReadBytesParams {
  int64_t size;
  int64_t parts;
  int64_t passes;
  const uint8_t* data;
  uint32_t* seen;
};

enum class MultiplyUnit { kFloat32, kInt8 };

// `rounds` rounds of multiply-adds in registers, `parts` times; done (parts): how many each part did.
struct MultiplyAddParams {
  MultiplyUnit unit;
  int64_t parts;
  int64_t rounds;
  int64_t* done;
};

}  // namespace pararnn
