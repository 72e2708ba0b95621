// The operations that measure a machine: that they read and count what they say.
#include "exact_buffer.h"
#include "random.h"
#include "tests.h"

namespace pararnn {
namespace {

constexpr int64_t kLine = 64, kStreams = 4;

uint32_t word_at(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

void check_read_bytes(const Level& level, Checks& checks, int64_t size, int64_t parts, int64_t passes,
                      Random& random) {
  checks.about("read_bytes at %s, %lld bytes, %lld parts", level.name.c_str(), (long long)size,
               (long long)parts);
  Exact<uint8_t> data(size);
  for (int64_t i = 0; i < size; ++i) data[i] = uint8_t(random.next());
  Exact<uint32_t> seen(parts);
  level.read_bytes({size, parts, passes, data.data(), seen.data()});
  const int64_t part = size / parts / kLine * kLine, read = part / (kStreams * kLine) * kStreams * kLine;
  for (int64_t index = 0; index < parts; ++index) {
    uint32_t sum = 0;
    for (int64_t at = 0; at < read; at += 4) sum += word_at(data.data() + index * part + at);
    checks.that(seen[index] == sum * uint32_t(passes), "every word is read in every pass");
  }
}

}  // namespace

void test_limits(const Level& level, Checks& checks) {
  Random random(10);
  for (const int64_t size : {0, 64, 255, 256, 257, 4096, 70001}) {
    for (const int64_t parts : {1, 2, 3}) check_read_bytes(level, checks, size, parts, 1 + parts % 2, random);
  }
  // Values in registers: an emulated level has none to measure.
  if (level.is_emulated()) return;
  for (const MultiplyUnit unit : {MultiplyUnit::kFloat32, MultiplyUnit::kInt8}) {
    checks.about("multiply_add at %s", level.name.c_str());
    Exact<int64_t> once(3), twice(3);
    level.multiply_add({unit, 3, 10, once.data()});
    level.multiply_add({unit, 3, 20, twice.data()});
    for (int64_t part = 0; part < 3; ++part)
      checks.that(once[part] > 0 && twice[part] == 2 * once[part], "what is counted grows with the rounds");
  }
}

}  // namespace pararnn
