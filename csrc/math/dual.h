// Forward-mode dual numbers. The partials that can be non-zero are part of the type, so the others cost
// nothing.
#pragma once

#include "math/scalar_math.h"

namespace pararnn {
namespace PARARNN_ISA {

template <unsigned Mask>
constexpr int kBits = int(Mask & 1u) + kBits<(Mask >> 1)>;

template <>
inline constexpr int kBits<0u> = 0;

// Value and the partials by every variable whose bit is in Mask, ascending.
template <class V, unsigned Mask>
struct Dual {
  V value;
  V partials[kBits<Mask>];
};

template <bool Condition>
struct EnableIf {};

template <>
struct EnableIf<true> {
  using Type = int;
};

template <class T>
struct Traits {
  using Value = T;
  static constexpr unsigned kMask = 0;
};

template <class V, unsigned Mask>
struct Traits<Dual<V, Mask>> {
  using Value = V;
  static constexpr unsigned kMask = Mask;
};

template <class T>
struct Traits<const T&> : Traits<T> {};

template <class T>
constexpr bool kIsDual = Traits<T>::kMask != 0;

template <class T>
PARARNN_HD typename Traits<T>::Value value_of(const T& x) {
  if constexpr (kIsDual<T>) {
    return x.value;
  } else {
    return x;
  }
}

template <int I, class T>
constexpr bool kDependsOn = ((Traits<T>::kMask >> I) & 1u) != 0;

template <int I, class V, unsigned Mask>
PARARNN_HD V& partial(Dual<V, Mask>& x) {
  return x.partials[kBits<(Mask & ((1u << I) - 1u))>];
}

template <int I, class V, unsigned Mask>
PARARNN_HD const V& partial(const Dual<V, Mask>& x) {
  return x.partials[kBits<(Mask & ((1u << I) - 1u))>];
}

template <int I, class V>
PARARNN_HD Dual<V, 1u << I> variable(const V& value) {
  return {value, {V(1.0f)}};
}

// Partials of f(x) and f(x, y) by the chain rule, one variable after the other.
template <int I, class R, class X, class V>
PARARNN_HD void chain(R& out, const X& x, const V& dx) {
  if constexpr (I < 32) {
    if constexpr (kDependsOn<I, X>) partial<I>(out) = partial<I>(x) * dx;
    chain<I + 1>(out, x, dx);
  }
}

template <int I, class R, class X, class Y, class V>
PARARNN_HD void chain(R& out, const X& x, const V& dx, const Y& y, const V& dy) {
  if constexpr (I < 32) {
    if constexpr (kDependsOn<I, X> && kDependsOn<I, Y>) {
      partial<I>(out) = madd(partial<I>(x), dx, partial<I>(y) * dy);
    } else if constexpr (kDependsOn<I, X>) {
      partial<I>(out) = partial<I>(x) * dx;
    } else if constexpr (kDependsOn<I, Y>) {
      partial<I>(out) = partial<I>(y) * dy;
    }
    chain<I + 1>(out, x, dx, y, dy);
  }
}

// A function of one dual, from its value and derivative; then one of two, at least one of them a dual.
template <class V, unsigned Mask>
PARARNN_HD Dual<V, Mask> unary(const V& value, const Dual<V, Mask>& x, const V& dx) {
  Dual<V, Mask> out;
  out.value = value;
  chain<0>(out, x, dx);
  return out;
}

template <class V, class X, class Y>
PARARNN_HD auto binary(const V& value, const X& x, const V& dx, const Y& y, const V& dy) {
  Dual<V, Traits<X>::kMask | Traits<Y>::kMask> out;
  out.value = value;
  chain<0>(out, x, dx, y, dy);
  return out;
}

template <class X, class Y>
using IfDual = decltype(typename EnableIf<kIsDual<X> || kIsDual<Y>>::Type());

template <class X, class Y, class = IfDual<X, Y>>
PARARNN_HD auto operator+(const X& x, const Y& y) {
  using V = typename Traits<X>::Value;
  return binary(value_of(x) + value_of(y), x, V(1.0f), y, V(1.0f));
}

template <class X, class Y, class = IfDual<X, Y>>
PARARNN_HD auto operator-(const X& x, const Y& y) {
  using V = typename Traits<X>::Value;
  return binary(value_of(x) - value_of(y), x, V(1.0f), y, V(-1.0f));
}

template <class X, class Y, class = IfDual<X, Y>>
PARARNN_HD auto operator*(const X& x, const Y& y) {
  return binary(value_of(x) * value_of(y), x, value_of(y), y, value_of(x));
}

// x * y + z with one rounding of the value where the level has a fused multiply-add.
template <class X, class Y, class Z, class = IfDual<X, Y>>
PARARNN_HD auto madd(const X& x, const Y& y, const Z& z) {
  using V = typename Traits<X>::Value;
  const auto product = binary(madd(value_of(x), value_of(y), value_of(z)), x, value_of(y), y, value_of(x));
  return binary(product.value, product, V(1.0f), z, V(1.0f));
}

template <class V, unsigned Mask>
PARARNN_HD Dual<V, Mask> sigmoid(const Dual<V, Mask>& x) {
  const V s = sigmoid(x.value);
  return unary(s, x, s - s * s);
}

template <class V, unsigned Mask>
PARARNN_HD Dual<V, Mask> tanh(const Dual<V, Mask>& x) {
  const V t = tanh(x.value);
  return unary(t, x, V(1.0f) - t * t);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
