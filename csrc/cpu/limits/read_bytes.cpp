#include "cpu/simd/simd.h"
#include "cpu/threads/parallel.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kStreams = 4;
constexpr int64_t kLine = 64;
constexpr int64_t kAhead = 1024;  // bytes asked for before their use

typedef uint32_t WordLanes __attribute__((vector_size(4 * kLanes)));
constexpr int kVectors = int(kLine) / int(sizeof(WordLanes));

// Four streams at once: one alone leaves a tenth of the bandwidth unused on the machines that were tried.
// Returns the sum of the 32-bit words read, so that none can be left out.
uint32_t read_part(const uint8_t* data, int64_t size, int64_t passes) {
  const int64_t part = size / (kStreams * kLine) * kLine;
  WordLanes seen[kStreams][kVectors] = {};
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t at = 0; at < part; at += kLine) {
#pragma GCC unroll 4
      for (int s = 0; s < kStreams; ++s) {
        const uint8_t* const line = data + s * part + at;
        __builtin_prefetch(line + kAhead);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          WordLanes bytes;
          memcpy(&bytes, line + v * int64_t(sizeof(bytes)), sizeof(bytes));
          seen[s][v] += bytes;
        }
      }
    }
    asm volatile("" ::: "memory");  // the next pass reads again
  }
  WordLanes all = {};
  for (const auto& stream : seen) {
    for (const WordLanes& lanes : stream) all += lanes;
  }
  uint32_t value = 0;
  for (int lane = 0; lane < kLanes; ++lane) value += all[lane];
  return value;
}

}  // namespace

void read_bytes(const ReadBytesParams& p) {
  const int64_t part = p.size / p.parts / kLine * kLine;
  parallel(p.parts, [&](int64_t index) { p.seen[index] = read_part(p.data + index * part, part, p.passes); });
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
