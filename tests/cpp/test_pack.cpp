#include "tests.h"
#include "weights.h"

namespace pararnn {
namespace {

constexpr BlockShape kShapes[] = {{1, 1, 1, 1}, {1, 1, 16, 16}, {1, 1, 33, 17},  {1, 1, 7, 100},
                                  {2, 3, 5, 3}, {3, 1, 70, 15}, {4, 3, 129, 33}, {1, 1, 1023, 5}};

// Back from the tiles, every byte as it was.
void check_round_trip(const Level& level, Checks& checks, const Weight& weight) {
  Packed packed(level, weight);
  Exact<uint8_t> plain(int64_t(weight.plain.size()));
  Exact<uint16_t> scales(int64_t(weight.scales.size()));
  level.unpack_matrix(weight.pack_params(plain.data(), scales.data(), packed.bytes().data()));
  checks.same_bits("plain", plain.data(), weight.plain.data(), plain.bytes());
  checks.same_bits("scales", scales.data(), weight.scales.data(), scales.bytes());
}

// The scales of outputs and groups that do not exist are 0: nothing that is no number can come of them.
void check_padding(const Level& level, Checks& checks, const Weight& weight) {
  Packed packed(level, weight);
  const PackedMatrix& matrix = packed.matrix();
  bool zero = true;
  for (int64_t tile = 0; tile < num_tiles(matrix.shape); ++tile) {
    const int64_t used = matrix.shape.outputs - tile % tiles_per_block(matrix.shape) * kTileOutputs;
    for (int64_t group = 0; group < rounded_up(weight.groups(), 2); ++group) {
      const uint8_t* const scales =
          packed.bytes().data() + tile * tile_bytes(matrix) + scales_offset(matrix, group);
      for (int64_t output = 0; output < kTileOutputs; ++output) {
        if (group < weight.groups() && output < used) continue;
        zero = zero && scales[2 * output] == 0 && scales[2 * output + 1] == 0;
      }
    }
  }
  checks.that(zero, "scales of what does not exist are 0");
}

}  // namespace

void test_pack(const Level& level, Checks& checks) {
  Random random(1);
  for (const BlockShape& shape : kShapes) {
    for (const WeightFormat format : {WeightFormat::kFloat32, WeightFormat::kBFloat16}) {
      checks.about("pack at %s, format %d, %lld inputs", level.name.c_str(), int(format),
                   (long long)shape.inputs);
      check_round_trip(level, checks, float_weight(random, shape, format));
    }
    for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
      for (const int64_t group_size : {16, 48, 128, 1024}) {
        checks.about("pack at %s, format %d, %lld inputs, groups of %lld", level.name.c_str(), int(format),
                     (long long)shape.inputs, (long long)group_size);
        const Weight weight = integer_weight(random, shape, format, group_size);
        check_round_trip(level, checks, weight);
        check_padding(level, checks, weight);
      }
    }
  }
}

}  // namespace pararnn
