// Numbers in memory of exact size, in either type that kernels take.
#pragma once

#include <algorithm>
#include <vector>

#include "bfloat16.h"
#include "exact_buffer.h"
#include "params/params.h"

namespace pararnn {

class TypedBuffer {
 public:
  // NaN of that type.
  TypedBuffer(DType type, int64_t count)
      : dtype(type), wide_(is_wide() ? count : 0), narrow_(is_wide() ? 0 : count) {}

  TypedBuffer(DType type, const std::vector<float>& values) : TypedBuffer(type, int64_t(values.size())) {
    if (is_wide()) {
      std::copy(values.begin(), values.end(), wide_.data());
    } else {
      std::transform(values.begin(), values.end(), narrow_.data(), bfloat16_bits);
    }
  }

  void* data() { return is_wide() ? static_cast<void*>(wide_.data()) : narrow_.data(); }

  std::vector<float> values() {
    if (is_wide()) return wide_.copy();
    std::vector<float> out(size_t(narrow_.size()));
    std::transform(narrow_.data(), narrow_.data() + narrow_.size(), out.begin(), widened);
    return out;
  }

  // How far a number of this type may be from one near `value` that it was rounded from, beside `error`.
  double bound(double value, double error) const {
    return error + (is_wide() ? 0.0 : (std::fabs(value) + error) / 256.0);
  }

  const DType dtype;

 private:
  bool is_wide() const { return dtype == DType::kFloat32; }

  Exact<float> wide_;
  Exact<uint16_t> narrow_;
};

// Both types, and whether rows lie where packs of four may be moved.
constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

inline double silu_of(double x) { return x / (1.0 + std::exp(-x)); }

}  // namespace pararnn
