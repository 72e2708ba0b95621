// One vector of floats, as wide as the instruction set level has it. Kernels are written against this alone.
#pragma once

#include <cstdint>
#include <cstring>

#include "math/host_device.h"
#include "params/params.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pararnn {
namespace PARARNN_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

constexpr int kTileVectors = int(kTileOutputs) / kLanes;

typedef float FloatLanes __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntLanes __attribute__((vector_size(4 * kLanes)));

struct Vec {
  FloatLanes lanes;

  Vec() = default;
  PARARNN_HD Vec(FloatLanes value) : lanes(value) {}
  PARARNN_HD explicit Vec(float value) : lanes(value - FloatLanes{}) {}  // x - 0 keeps -0
};

PARARNN_HD Vec operator+(Vec x, Vec y) { return x.lanes + y.lanes; }
PARARNN_HD Vec operator-(Vec x, Vec y) { return x.lanes - y.lanes; }
PARARNN_HD Vec operator*(Vec x, Vec y) { return x.lanes * y.lanes; }
PARARNN_HD Vec operator/(Vec x, Vec y) { return x.lanes / y.lanes; }

// x * y + z: fused where the level has it, two roundings at the baseline.
PARARNN_HD Vec madd(Vec x, Vec y, Vec z) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(x.lanes, y.lanes, z.lanes);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(x.lanes, y.lanes, z.lanes);
#elif defined(__aarch64__)
  return vfmaq_f32(z.lanes, x.lanes, y.lanes);
#else
  return x.lanes * y.lanes + z.lanes;
#endif
}

PARARNN_HD Vec load(const float* from) {
  Vec out;
  memcpy(&out.lanes, from, sizeof(out.lanes));
  return out;
}

PARARNN_HD void store(float* to, Vec x) { memcpy(to, &x.lanes, sizeof(x.lanes)); }

#if defined(__AVX512F__)
PARARNN_HD __mmask16 first_lanes(int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << (count > 0 ? count : 0)) - 1u);
}
#endif

// The first `count` lanes (none if count <= 0, all from kLanes up); the others are 0 and memory beyond is not
// touched.
PARARNN_HD Vec load(const float* from, int64_t count) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(first_lanes(count), from);
#else
  if (count >= kLanes) return load(from);
  Vec out(0.0f);
  if (count > 0) memcpy(&out.lanes, from, size_t(count) * sizeof(float));
  return out;
#endif
}

PARARNN_HD void store(float* to, Vec x, int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, first_lanes(count), x.lanes);
#else
  if (count >= kLanes) return store(to, x);
  if (count > 0) memcpy(to, &x.lanes, size_t(count) * sizeof(float));
#endif
}

// Lanes where the comparison with a NaN is false keep x, so a NaN goes through.
PARARNN_HD Vec clamp(Vec x, float low, float high) {
  const FloatLanes lows = Vec(low).lanes, highs = Vec(high).lanes;
  const FloatLanes raised = x.lanes < lows ? lows : x.lanes;
  return raised > highs ? highs : raised;
}

PARARNN_HD IntLanes bits(Vec x) { return (IntLanes)x.lanes; }
PARARNN_HD Vec from_bits(IntLanes x) { return (FloatLanes)x; }

}  // namespace PARARNN_ISA
}  // namespace pararnn
