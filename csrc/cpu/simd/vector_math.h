// exp, sigmoid and tanh of a vector, within 3 units in the last place, right at infinities and NaN.
// The same code serves whole vectors and tails, so a value does not depend on where it stands.
#pragma once

#include "cpu/simd/simd.h"

namespace pararnn {
namespace PARARNN_ISA {

// x = n ln 2 + r with |r| <= ln 2 / 2; `n` as float and as integer.
struct Reduced {
  Vec r;
  IntLanes n;
};

PARARNN_HD Reduced reduce_by_ln2(Vec x) {
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
  const Vec magic(12582912.0f);
  const Vec shifted = madd(x, Vec(1.44269504f), magic);
  const Vec n = shifted - magic;
  const Vec high = madd(n, Vec(-0.693145751953125f), x);  // 15 bits of ln 2, so the product is exact
  return {madd(n, Vec(-1.4286068e-6f), high), bits(shifted) - bits(magic)};
}

// (e^r - 1 - r) / r^2 on |r| <= 0.3466: least maximum error of e^r, 5e-11.
PARARNN_HD Vec exp_tail(Vec r) {
  Vec p = madd(r, Vec(1.9918448e-4f), Vec(1.3946119e-3f));
  p = madd(p, r, Vec(8.333264e-3f));
  p = madd(p, r, Vec(4.166627e-2f));
  p = madd(p, r, Vec(1.6666667e-1f));
  return madd(p, r, Vec(0.5f));
}

PARARNN_HD Vec power_of_two(IntLanes n) { return from_bits((n + 127) << 23); }

PARARNN_HD Vec exp(Vec x) {
  const Reduced reduced = reduce_by_ln2(clamp(x, -104.0f, 89.0f));
  const Vec mantissa = madd(exp_tail(reduced.r), reduced.r * reduced.r, reduced.r) + Vec(1.0f);
  // Two factors: 2^n alone leaves the float range near both ends.
  const IntLanes half = reduced.n >> 1;
  return mantissa * power_of_two(half) * power_of_two(reduced.n - half);
}

PARARNN_HD Vec sigmoid(Vec x) { return Vec(1.0f) / (Vec(1.0f) + exp(Vec(0.0f) - x)); }

PARARNN_HD Vec silu(Vec x) { return x * sigmoid(x); }

PARARNN_HD Vec tanh(Vec x) {
  const IntLanes sign = bits(x) & bits(Vec(-0.0f));
  const Vec size = from_bits(bits(x) ^ sign);
  const Reduced twice = reduce_by_ln2(clamp(size + size, 0.0f, 40.0f));
  // e^(2|x|) - 1 without cancellation near 0.
  const Vec scale = power_of_two(twice.n);
  const Vec minus_one = madd(exp_tail(twice.r), twice.r * twice.r, twice.r);
  const Vec grown = madd(minus_one, scale, scale - Vec(1.0f));
  return from_bits(bits(grown / (grown + Vec(2.0f))) | sign);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
