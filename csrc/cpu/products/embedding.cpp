// Rows of a weight out of its tiles: a token's row is one output of the packed matrix.
#include "cpu/products/int_formats.h"
#include "cpu/simd/bfloat16.h"
#include "cpu/threads/parallel.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

struct Place {
  const uint8_t* tile;
  int64_t output;  // in the tile

  Place(const PackedMatrix& weight, int64_t token)
      : tile(static_cast<const uint8_t*>(weight.data) + token / kTileOutputs * tile_bytes(weight)),
        output(token % kTileOutputs) {}
};

float widened(uint16_t half) {
  const uint32_t word = uint32_t(half) << 16;
  float value;
  memcpy(&value, &word, sizeof(value));
  return value;
}

void copy_floats(const Place& place, int64_t inputs, float* out) {
  const float* const from = reinterpret_cast<const float*>(place.tile) + place.output;
  for (int64_t k = 0; k < inputs; ++k) out[k] = from[k * kTileOutputs];
}

void copy_halves(const Place& place, int64_t inputs, float* out) {
  const uint16_t* const from = reinterpret_cast<const uint16_t*>(place.tile) + place.output * 2;
  for (int64_t k = 0; k < inputs; ++k) out[k] = widened(from[k / 2 * 2 * kTileOutputs + k % 2]);
}

// The byte of a lane that holds input `k` of its four.
template <class Format>
int64_t byte_of(int64_t k) {
  constexpr int64_t kSwapped[] = {0, 2, 1, 3};
  return Format::kSwapsMiddleBytes ? kSwapped[k] : k;
}

// Input `k` of a group.
int integer_of_int8(const uint8_t* group, int64_t output, int64_t k) {
  const uint8_t byte = group[(k / 4 * kTileOutputs + output) * 4 + byte_of<Int8Format>(k % 4)];
  return int8_t(byte - Int8Format::kZero);
}

int integer_of_int4(const uint8_t* group, int64_t output, int64_t k) {
  const uint8_t pair = group[(k / 8 * kTileOutputs + output) * 4 + byte_of<Int4Format>(k % 4)];
  return (k % 8 < 4 ? pair & 15 : pair >> 4) - Int4Format::kZero;
}

template <int (*kInteger)(const uint8_t*, int64_t, int64_t)>
void copy_scaled(const PackedMatrix& weight, const Place& place, float* out) {
  for (int64_t group = 0; group < groups_per_row(weight); ++group) {
    const int64_t begin = group * weight.group_size;
    const int64_t count = smaller(weight.group_size, weight.shape.inputs - begin);
    const uint8_t* const data = place.tile + group_offset(weight, group);
    const uint8_t* const scales = place.tile + scales_offset(weight, group);
    const float scale = widened(reinterpret_cast<const uint16_t*>(scales)[place.output]);
    for (int64_t k = 0; k < count; ++k) out[begin + k] = float(kInteger(data, place.output, k)) * scale;
  }
}

void copy_row(const EmbeddingParams& p, int64_t row) {
  const Place place(p.weight, p.tokens[row]);
  float* const out = p.out + row * p.weight.shape.inputs;
  switch (p.weight.format) {
    case WeightFormat::kFloat32:
      return copy_floats(place, p.weight.shape.inputs, out);
    case WeightFormat::kBFloat16:
      return copy_halves(place, p.weight.shape.inputs, out);
    case WeightFormat::kInt8:
      return copy_scaled<integer_of_int8>(p.weight, place, out);
    default:
      return copy_scaled<integer_of_int4>(p.weight, place, out);
  }
}

}  // namespace

void embedding(const EmbeddingParams& p) {
  constexpr int64_t kElementCost = 4;  // a line of the cache each
  parallel_lots(p.rows, p.weight.shape.inputs * kElementCost, [&](int64_t row) { copy_row(p, row); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
