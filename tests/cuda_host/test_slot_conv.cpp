// The convolution by slots: rows within float32's own error of float64, tails to the bit, however the rows
// are dealt out to threads, and nothing touched that is not asked for.
#include "cuda/scans/causal_conv1d.cuh"
#include "host_tests.h"
#include "problem.h"
#include "typed_buffer.h"

namespace pararnn {
namespace {

using namespace PARARNN_ISA;

constexpr int kThreads = 64;
constexpr int64_t kPoolSlots = 9;

struct Kind {
  DType type, state;
  int64_t channels, width;
  bool has_bias;
  Activation activation;
};

template <int kTaps, int kPack>
void run(const CausalConvParams& p, int64_t rows, fibers::Order order) {
  for_scalar(p.dtype, [&](auto scalar) {
    for_scalar(p.state_dtype, [&](auto state) {
      fibers::run_grid(causal_conv1d_blocks<kPack, kThreads>(p, rows), kThreads, order, [&] {
        causal_conv1d_block<decltype(scalar), decltype(state), kTaps, kPack, kThreads>(p, rows);
      });
    });
  });
}

void run(const CausalConvParams& p, int64_t rows, fibers::Order order) {
  const bool packs = moves_packs(p, 4);
  if (p.width > 4) return packs ? run<8, 4>(p, rows, order) : run<8, 1>(p, rows, order);
  packs ? run<4, 4>(p, rows, order) : run<4, 1>(p, rows, order);
}

class ConvProblem {
 public:
  ConvProblem(const Kind& conv_kind, const Batch& sequences, Random& random)
      : kind(conv_kind),
        batch(sequences),
        tokens_(batch.begin(batch.count())),
        gap_(kind.channels % 4 == 0 ? 4 : 3),
        row_stride_(kind.channels + gap_),
        slot_stride_((kind.width - 1) * row_stride_ + gap_),
        v_(random.numbers(std::max<int64_t>((2 * tokens_ - 1) * kind.channels, 0), 2.0f)),
        weight_(random.numbers(kind.width * kind.channels)),
        bias_(random.numbers(kind.channels)),
        pool_(random.numbers(kPoolSlots * slot_stride_)) {
    if (kind.type == DType::kBFloat16) std::transform(v_.begin(), v_.end(), v_.begin(), rounded);
    if (kind.state == DType::kBFloat16) std::transform(pool_.begin(), pool_.end(), pool_.begin(), rounded);
  }

  void check(Checks& checks) const {
    std::vector<double> want(size_t(tokens_ * kind.channels), 0.0), bounds;
    std::vector<float> want_pool = pool_;
    for (int64_t s = 0; s < batch.count(); ++s) {
      if (!batch.is_skipped(s) && batch.lengths[size_t(s)] > 0) expect(s, want, want_pool);
    }
    std::vector<float> first;
    for (const int64_t rows : {1, 3, 8}) {
      for (const fibers::Order order : kOrders) {
        checks.about("slot_conv, types %d %d, %lld channels, width %lld, %lld rows a thread, %lld sequences",
                     int(kind.type), int(kind.state), static_cast<long long>(kind.channels),
                     static_cast<long long>(kind.width), static_cast<long long>(rows),
                     static_cast<long long>(batch.count()));
        TypedBuffer pool(kind.state, pool_), out(kind.type, tokens_ * kind.channels);
        convolve(pool, out, rows, order);
        bounds.clear();
        for (const double x : want) bounds.push_back(out.bound(x, 1e-5));
        checks.close("out", out.values().data(), want, bounds);
        checks.that(pool.values() == want_pool, "the tails, and the memory between them");
        if (first.empty()) first = out.values();
        checks.that(out.values() == first, "the same bits however rows are dealt out");
      }
    }
  }

  const Kind kind;
  const Batch batch;

 private:
  void convolve(TypedBuffer& pool, TypedBuffer& out, int64_t rows, fibers::Order order) const {
    std::vector<int32_t> all;
    for (int64_t s = 0; s <= batch.count(); ++s) all.push_back(int32_t(batch.begin(s)));
    Exact<int32_t> bounds(all), slots(batch.slots);
    Exact<uint8_t> held(batch.held);
    Exact<float> weight(weight_), bias(bias_);
    TypedBuffer v(kind.type, v_);
    run({{batch.count(), bounds.data(), slots.data(), reinterpret_cast<const bool*>(held.data())},
         tokens_,
         kind.channels,
         kind.width,
         kind.type,
         v.data(),
         2 * kind.channels,
         weight.data(),
         1,
         kind.channels,
         kind.has_bias ? bias.data() : nullptr,
         kind.activation,
         kind.state,
         pool.data(),
         slot_stride_,
         row_stride_,
         out.data()},
        rows, order);
  }

  void expect(int64_t s, std::vector<double>& out, std::vector<float>& pool) const {
    const int64_t before = kind.width - 1, length = batch.lengths[size_t(s)];
    for (int64_t d = 0; d < kind.channels; ++d) {
      const auto place = [&](int64_t k) {
        return size_t(batch.slots[size_t(s)] * slot_stride_ + k * row_stride_ + d);
      };
      std::vector<float> window;
      for (int64_t k = 0; k < before; ++k) window.push_back(batch.held[size_t(s)] ? pool_[place(k)] : 0.0f);
      for (int64_t t = 0; t < length; ++t) {
        const float value = v_[size_t((batch.begin(s) + t) * 2 * kind.channels + d)];
        window.push_back(kind.state == DType::kBFloat16 ? rounded(value) : value);
        double sum = kind.has_bias ? double(bias_[size_t(d)]) : 0.0;
        for (int64_t k = 0; k < kind.width; ++k)
          sum += double(weight_[size_t(k * kind.channels + d)]) * double(window[size_t(t + k)]);
        out[size_t((batch.begin(s) + t) * kind.channels + d)] =
            kind.activation == Activation::kSilu ? silu_of(sum) : sum;
      }
      for (int64_t k = 0; k < before; ++k) pool[place(k)] = window[size_t(length + k)];
    }
  }

  int64_t tokens_, gap_, row_stride_, slot_stride_;
  std::vector<float> v_, weight_, bias_, pool_;
};

}  // namespace

void test_slot_conv(Checks& checks) {
  Random random(53);
  const Batch ragged{{1, 2, 3, 4, 5, 0, 9, 26}, {3, 8, 0, 5, 7, 6, kPadSlotId, 1}, {1, 0, 1, 1, 0, 1, 1, 1}};
  const Batch decode{{1, 1, 1, 1, 1, 1, 1}, {3, 8, kPadSlotId, 5, 7, 6, 1}, {1, 0, 1, 1, 0, 1, 1}};
  const Batch borders{{8, 7, 9, 6, 3}, {2, 0, 1, kPadSlotId, 4}, {1, 1, 0, 0, 1}};
  const Batch whole{{70}, {5}, {1}};
  for (const DType type : kTypes) {
    for (const DType state : kTypes) {
      for (const Batch& batch : {ragged, decode, borders, whole}) {
        ConvProblem({type, state, 8, 4, true, Activation::kSilu}, batch, random).check(checks);
        ConvProblem({type, state, 5, 3, false, Activation::kNone}, batch, random).check(checks);
      }
      ConvProblem({type, state, 260, 2, true, Activation::kNone}, ragged, random).check(checks);
      ConvProblem({type, state, 65, 4, true, Activation::kSilu}, decode, random).check(checks);
      ConvProblem({type, state, 4, 8, true, Activation::kSilu}, ragged, random).check(checks);
      ConvProblem({type, state, 3, 1, true, Activation::kSilu}, ragged, random).check(checks);
      ConvProblem({type, state, 4, 5, false, Activation::kSilu}, Batch{{}, {}, {}}, random).check(checks);
    }
  }
}

}  // namespace pararnn
