#include "random.h"
#include "sequences.h"
#include "tests.h"
#include "weights.h"

namespace pararnn {
namespace {

constexpr double kRounding = 1.0 / (1 << 24);

struct Convolution {
  int64_t channels;
  int64_t width;
  DType dtype;
  Activation activation;
  std::vector<float> v, weight, bias, pool;
  bool taps_lie_by_channels = false;
  int64_t v_stride = channels + 2;
  int64_t row_stride = channels + 3;
  int64_t slot_stride = (width - 1) * row_stride + 1;

  int64_t channel_stride() const { return taps_lie_by_channels ? 1 : width; }
  int64_t tap_stride() const { return taps_lie_by_channels ? channels : 1; }
};

// Numbers that bfloat16 has are kept whole in either dtype, so that both are compared with one computation.
std::vector<float> coarse(std::vector<float> numbers) {
  for (float& each : numbers) each = widened(narrowed(each));
  return numbers;
}

int64_t pool_size(const Convolution& conv) {
  return conv.width == 1
             ? 0
             : (Ragged::kSlots - 1) * conv.slot_stride + (conv.width - 2) * conv.row_stride + conv.channels;
}

struct Result {
  std::vector<float> out, pool;
};

template <class Value>
Result run(const Level& level, const Convolution& conv, const Ragged& ragged,
           const std::vector<Value>& pool_values) {
  RaggedMemory memory(ragged);
  Exact<float> v(conv.v), weight(conv.weight), bias(conv.bias), out(ragged.tokens() * conv.channels);
  Exact<Value> pool(pool_values);
  level.causal_conv1d({memory.in_slots(), ragged.tokens(), conv.channels, conv.width, DType::kFloat32,
                       v.data(), conv.v_stride, weight.data(), conv.channel_stride(), conv.tap_stride(),
                       conv.bias.empty() ? nullptr : bias.data(), conv.activation, conv.dtype, pool.data(),
                       conv.slot_stride, conv.row_stride, out.data()});
  Result result{out.copy(), {}};
  for (int64_t i = 0; i < pool.size(); ++i) {
    if constexpr (sizeof(Value) == 2) {
      result.pool.push_back(widened(pool[i]));
    } else {
      result.pool.push_back(pool[i]);
    }
  }
  return result;
}

Result run(const Level& level, const Convolution& conv, const Ragged& ragged) {
  if (conv.dtype == DType::kFloat32) return run<float>(level, conv, ragged, conv.pool);
  std::vector<uint16_t> halves;
  for (const float each : conv.pool) halves.push_back(narrowed(each));
  return run<uint16_t>(level, conv, ragged, halves);
}

void check(const Level& level, Checks& checks, const Convolution& conv, const Ragged& ragged) {
  std::vector<double> want(size_t(ragged.tokens() * conv.channels), 0.0), bounds(want.size(), 0.0);
  std::vector<float> pool = conv.pool;
  for (int64_t s = 0; s < ragged.count(); ++s) {
    const int64_t slot = ragged.slots[size_t(s)], tail = conv.width - 1;
    if (slot == kPadSlotId) continue;
    for (int64_t d = 0; d < conv.channels; ++d) {
      std::vector<float> line(size_t(tail), 0.0f);
      const auto place = [&](int64_t k) { return size_t(slot * conv.slot_stride + k * conv.row_stride + d); };
      for (int64_t k = 0; k < tail && ragged.held[size_t(s)]; ++k) line[size_t(k)] = conv.pool[place(k)];
      for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
        line.push_back(conv.v[size_t(t * conv.v_stride + d)]);
        double sum = conv.bias.empty() ? 0.0 : double(conv.bias[size_t(d)]), size = std::fabs(sum);
        for (int64_t k = 0; k < conv.width; ++k) {
          const double product =
              double(conv.weight[size_t(d * conv.channel_stride() + k * conv.tap_stride())]) *
              double(line[line.size() - size_t(conv.width - k)]);
          sum += product;
          size += std::fabs(product);
        }
        const bool silu = conv.activation == Activation::kSilu;
        want[size_t(t * conv.channels + d)] = silu ? sum / (1.0 + std::exp(-sum)) : sum;
        // The slope of SiLU is at most 1.1; its own error at most 4 units in the last place.
        bounds[size_t(t * conv.channels + d)] =
            (1.1 * double(conv.width + 2) * size + 8.0 * std::fabs(sum)) * kRounding + 1e-37;
      }
      for (int64_t k = 0; k < tail; ++k) pool[place(k)] = line[line.size() - size_t(tail - k)];
    }
  }
  const Result got = run(level, conv, ragged);
  checks.close("out", got.out.data(), want, bounds);
  checks.same_bits("the pool", got.pool.data(), pool.data(), int64_t(pool.size()) * 4);
}

}  // namespace

void test_causal_conv1d(const Level& level, Checks& checks) {
  Random random(7);
  const Ragged ragged;
  for (const int64_t channels : {1, 3, 8, 15, 17, 65}) {
    for (int64_t width = 1; width <= kMaxConvWidth; ++width) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        checks.about("causal_conv1d at %s, %lld channels, %lld taps, dtype %d", level.name.c_str(),
                     (long long)channels, (long long)width, int(dtype));
        Convolution conv{channels, width, dtype, width % 2 ? Activation::kSilu : Activation::kNone,
                         {},       {},    {},    {}};
        conv.v = coarse(random.numbers((ragged.tokens() - 1) * conv.v_stride + channels));
        conv.weight = random.numbers(channels * width);
        conv.pool = coarse(random.numbers(pool_size(conv)));
        check(level, checks, conv, ragged);
        conv.bias = random.numbers(channels);
        conv.taps_lie_by_channels = true;
        check(level, checks, conv, ragged);
      }
    }
  }
}

}  // namespace pararnn
