// The norms of a layer: within float32's own error of float64, whatever the width, and nothing else touched.
#include <string>

#include "cuda/rows/add_rms_norm.cuh"
#include "cuda/rows/gated_rms_norm.cuh"
#include "host_tests.h"
#include "random.h"
#include "typed_buffer.h"

namespace pararnn {
namespace {

using namespace PARARNN_ISA;

constexpr double kError = 1e-5;
constexpr float kEps = 1e-3f;
// Beside packs and threads: less than a pack, whole, with some threads that hold none, more than threads
// hold.
constexpr int64_t kWidths[] = {1, 3, 4, 21, 128, 257, 1024, 1030};
constexpr int64_t kRows = 4;

std::vector<double> normed(const std::vector<double>& row, const std::vector<float>& weight) {
  double squares = 0.0;
  for (const double x : row) squares += x * x;
  std::vector<double> out;
  for (size_t i = 0; i < row.size(); ++i)
    out.push_back(row[i] / std::sqrt(squares / double(row.size()) + double(kEps)) * double(weight[i]));
  return out;
}

void check_close(Checks& checks, const char* what, TypedBuffer& got, const std::vector<double>& want) {
  std::vector<double> bounds;
  for (const double x : want) bounds.push_back(got.bound(x, kError * (1.0 + std::fabs(x))));
  checks.close(what, got.values().data(), want, bounds);
}

template <int kThreads>
void run(const AddRmsNormParams& p, fibers::Order order) {
  for_scalar(p.update_dtype, [&](auto update) {
    for_scalar(p.out_dtype, [&](auto out) {
      fibers::run_grid(p.rows, kThreads, order, [&] {
        moves_packs(p, 4) ? add_rms_norm_block<decltype(update), decltype(out), 4, kThreads>(p)
                          : add_rms_norm_block<decltype(update), decltype(out), 1, kThreads>(p);
      });
    });
  });
}

template <int kThreads>
void run(const GatedRmsNormParams& p, fibers::Order order) {
  constexpr auto kGate = GateOrder::kGateThenNorm, kNorm = GateOrder::kNormThenGate;
  for_scalar(p.dtype, [&](auto scalar) {
    using Scalar = decltype(scalar);
    fibers::run_grid(p.rows, kThreads, order, [&] {
      if (p.order == kGate) {
        moves_packs(p, 4) ? gated_rms_norm_block<Scalar, kGate, 4, kThreads>(p)
                          : gated_rms_norm_block<Scalar, kGate, 1, kThreads>(p);
      } else {
        moves_packs(p, 4) ? gated_rms_norm_block<Scalar, kNorm, 4, kThreads>(p)
                          : gated_rms_norm_block<Scalar, kNorm, 1, kThreads>(p);
      }
    });
  });
}

// A weight as torch allocates it: where packs may be read, whatever the width of the rows.
std::vector<float> in_whole_packs(std::vector<float> weight) {
  weight.resize((weight.size() + 3) / 4 * 4, NAN);
  return weight;
}

struct Stream {
  StreamUpdate kind;
  bool is_scaled;
  DType update, out;
  int64_t width;
};

template <int kThreads>
void check(Checks& checks, const Stream& s, Random& random) {
  checks.about("add_rms_norm, %d threads, width %lld, kind %d, scaled %d, types %d %d", kThreads,
               static_cast<long long>(s.width), int(s.kind), int(s.is_scaled), int(s.update), int(s.out));
  const int64_t size = kRows * s.width;
  const std::vector<float> stream = random.numbers(size, 2.0f), weights = random.numbers(s.width, 2.0f);
  TypedBuffer update(s.update, random.numbers(size, 2.0f));
  const std::vector<float> added = update.values();
  Exact<float> weight(in_whole_packs(weights)), scale(std::vector<float>{0.75f});
  std::vector<double> want_x, want;
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<double> sum;
    for (int64_t i = row * s.width; i < (row + 1) * s.width; ++i) {
      const double kept = s.kind == StreamUpdate::kReplace ? 0.0 : double(stream[size_t(i)]);
      const double factor = s.is_scaled && s.kind == StreamUpdate::kAdd ? 0.75 : 1.0;
      sum.push_back(factor * kept + (s.kind == StreamUpdate::kNone ? 0.0 : double(added[size_t(i)])));
    }
    const std::vector<double> out = normed(sum, weights);
    want_x.insert(want_x.end(), sum.begin(), sum.end());
    want.insert(want.end(), out.begin(), out.end());
  }
  std::vector<float> first;
  for (const fibers::Order order : kOrders) {
    TypedBuffer x(DType::kFloat32, stream), out(s.out, size);
    const bool adds = s.kind != StreamUpdate::kNone;
    AddRmsNormParams p{kRows,
                       s.width,
                       static_cast<float*>(x.data()),
                       s.kind,
                       s.update,
                       adds ? update.data() : nullptr,
                       s.is_scaled ? scale.data() : nullptr,
                       weight.data(),
                       kEps,
                       s.out,
                       out.data()};
    run<kThreads>(p, order);
    check_close(checks, "x", x, want_x);
    check_close(checks, "the norm", out, want);
    if (first.empty()) first = out.values();
    checks.that(out.values() == first, "the same bits in every order");

    // The second row alone.
    TypedBuffer lone_x(DType::kFloat32, {stream.begin() + s.width, stream.begin() + 2 * s.width});
    TypedBuffer lone_update(s.update, {added.begin() + s.width, added.begin() + 2 * s.width});
    TypedBuffer lone(s.out, s.width);
    p.rows = 1;
    p.x = static_cast<float*>(lone_x.data());
    p.update = adds ? lone_update.data() : nullptr;
    p.out = lone.data();
    run<kThreads>(p, order);
    checks.that(lone.values() == std::vector<float>(first.begin() + s.width, first.begin() + 2 * s.width),
                "the same bits beside no others");
  }
}

template <int kThreads>
void check(Checks& checks, DType dtype, GateOrder gate_order, int64_t width, int64_t gap, Random& random) {
  checks.about("gated_rms_norm, %d threads, width %lld, gap %lld, order %d, type %d", kThreads,
               static_cast<long long>(width), static_cast<long long>(gap), int(gate_order), int(dtype));
  // Gates are the second part of wider rows; the last ends with its gate.
  const int64_t stride = width + gap;
  const std::vector<float> ys = random.numbers(kRows * width, 2.0f), weights = random.numbers(width, 2.0f);
  TypedBuffer gates(dtype, random.numbers(kRows * stride, 4.0f));
  const std::vector<float> opening = gates.values();
  Exact<float> y(ys), weight(in_whole_packs(weights));
  std::vector<double> want;
  for (int64_t row = 0; row < kRows; ++row) {
    std::vector<double> values;
    const auto open = [&](int64_t i) { return silu_of(double(opening[size_t(row * stride + gap + i)])); };
    const bool gate_first = gate_order == GateOrder::kGateThenNorm;
    for (int64_t i = 0; i < width; ++i)
      values.push_back(double(ys[size_t(row * width + i)]) * (gate_first ? open(i) : 1.0));
    const std::vector<double> out = normed(values, weights);
    for (int64_t i = 0; i < width; ++i) want.push_back(out[size_t(i)] * (gate_first ? 1.0 : open(i)));
  }
  const int64_t first_gate = gap * (dtype == DType::kFloat32 ? 4 : 2);
  for (const fibers::Order order : kOrders) {
    TypedBuffer out(dtype, kRows * width);
    run<kThreads>(
        GatedRmsNormParams{kRows, width, y.data(), dtype, static_cast<char*>(gates.data()) + first_gate,
                           stride, weight.data(), kEps, gate_order, out.data()},
        order);
    check_close(checks, "out", out, want);
  }
}

}  // namespace

void test_add_rms_norm(Checks& checks) {
  Random random(41);
  for (const int64_t width : kWidths) {
    for (const DType update : kTypes) {
      for (const DType out : kTypes) {
        check<64>(checks, {StreamUpdate::kAdd, width % 2 == 0, update, out, width}, random);
        check<64>(checks, {StreamUpdate::kReplace, false, update, out, width}, random);
      }
    }
    check<64>(checks, {StreamUpdate::kNone, false, DType::kFloat32, DType::kBFloat16, width}, random);
  }
  check<128>(checks, {StreamUpdate::kAdd, true, DType::kBFloat16, DType::kBFloat16, 4100}, random);
  check<128>(checks, {StreamUpdate::kAdd, false, DType::kBFloat16, DType::kFloat32, 1}, random);
}

void test_gated_rms_norm(Checks& checks) {
  Random random(43);
  for (const int64_t width : kWidths) {
    for (const DType dtype : kTypes) {
      for (const GateOrder order : {GateOrder::kGateThenNorm, GateOrder::kNormThenGate}) {
        check<64>(checks, dtype, order, width, width, random);
        check<64>(checks, dtype, order, width, 3, random);
      }
    }
  }
  check<128>(checks, DType::kBFloat16, GateOrder::kGateThenNorm, 4100, 4100, random);
}

}  // namespace pararnn
