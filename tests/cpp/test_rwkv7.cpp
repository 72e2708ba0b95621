// What a layer of RWKV-7 does between its products, against float64, and in one piece against many.
#include <cmath>

#include "random.h"
#include "sequences.h"
#include "tests.h"

namespace pararnn {
namespace {

constexpr double kRounding = 1.0 / (1 << 24);
constexpr int64_t kHead = kDeltaHead;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

void check_layer_norm(const Level& level, Checks& checks, int64_t rows, int64_t width, Random& random) {
  const double eps = 1e-5;
  std::vector<float> x = random.numbers(rows * width, 3.0f);
  const std::vector<float> weight = random.numbers(width), bias = random.numbers(width);
  Exact<float> out(x), its_weight(weight), its_bias(bias);
  level.layer_norm({rows, width, out.data(), its_weight.data(), its_bias.data(), float(eps), out.data()});
  std::vector<double> want, bounds;
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = x.data() + row * width;
    double mean = 0.0, variance = 0.0;
    for (int64_t i = 0; i < width; ++i) mean += double(from[i]) / double(width);
    for (int64_t i = 0; i < width; ++i) variance += std::pow(double(from[i]) - mean, 2) / double(width);
    for (int64_t i = 0; i < width; ++i) {
      const double scale = double(weight[size_t(i)]) / std::sqrt(variance + eps);
      want.push_back((double(from[i]) - mean) * scale + double(bias[size_t(i)]));
      // The error of the mean, of at most 3, is scaled too.
      bounds.push_back((3.0 * std::fabs(scale) + std::fabs(want.back())) * (double(width) / 64.0 + 24.0) *
                       kRounding);
    }
  }
  checks.close("layer_norm", out.data(), want, bounds);
}

void check_apply(const Level& level, Checks& checks, int64_t size, Random& random) {
  const std::vector<float> x = random.numbers(size, 9.0f);
  const auto check = [&](const char* what, Function function, double (*exact)(double)) {
    Exact<float> out(x);
    level.apply({size, function, out.data()});
    std::vector<double> want, bounds;
    for (const float each : x) {
      want.push_back(exact(double(each)));
      bounds.push_back(8.0 * kRounding * std::fabs(want.back()) + 1e-37);
    }
    checks.close(what, out.data(), want, bounds);
  };
  check("tanh", Function::kTanh, [](double v) { return std::tanh(v); });
  check("sigmoid", Function::kSigmoid, sigmoid);
  check("squared_relu", Function::kSquaredRelu, [](double v) { return v > 0.0 ? v * v : 0.0; });
}

void check_token_shift(const Level& level, Checks& checks, int64_t channels, Random& random) {
  const Ragged ragged;
  const int64_t stride = channels + 5;
  const std::vector<float> x = random.numbers(ragged.tokens() * channels), mix = random.numbers(channels);
  const std::vector<float> pool = random.numbers((Ragged::kSlots - 1) * stride + channels);
  std::vector<double> want(x.size(), 0.0), bounds(x.size(), 0.0);
  std::vector<float> moved = pool;
  for (int64_t s = 0; s < ragged.count(); ++s) {
    const int64_t slot = ragged.slots[size_t(s)];
    if (slot == kPadSlotId) continue;
    for (int64_t d = 0; d < channels; ++d) {
      float previous = ragged.held[size_t(s)] ? pool[size_t(slot * stride + d)] : 0.0f;
      for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
        const size_t at = size_t(t * channels + d);
        want[at] = double(x[at]) + (double(previous) - double(x[at])) * double(mix[size_t(d)]);
        bounds[at] = 8.0 * kRounding;
        previous = x[at];
      }
      moved[size_t(slot * stride + d)] = previous;
    }
  }
  RaggedMemory memory(ragged);
  Exact<float> its_x(x), its_mix(mix), state(pool), out(int64_t(x.size()));
  const auto run = [&](bool moves_on) {
    level.token_shift({memory.in_slots(), channels, its_x.data(), its_mix.data(), state.data(), stride,
                       moves_on, out.data()});
    checks.close("token_shift", out.data(), want, bounds);
  };
  run(false);
  checks.same_bits("a state that stays", state.data(), pool.data(), state.bytes());
  run(true);
  checks.same_bits("a state that moves on", state.data(), moved.data(), state.bytes());
}

// The operands of the delta rule for `tokens` rows.
struct Delta {
  int64_t heads, tokens;
  std::vector<float> r, k, v, decay, rate, value_gate, gate, first_value, k_k, k_a, r_k, norm_weight,
      norm_bias;

  Delta(int64_t heads_, int64_t tokens_, Random& random) : heads(heads_), tokens(tokens_) {
    const int64_t width = heads * kHead;
    for (auto* rows : {&r, &k, &v, &decay, &rate, &value_gate, &gate, &first_value})
      *rows = random.numbers(tokens * width, 2.0f);
    for (auto* row : {&k_k, &k_a, &r_k, &norm_weight, &norm_bias}) *row = random.numbers(width);
  }
};

struct DeltaResult {
  std::vector<float> out, first_value, pool;
};

constexpr float kNormEps = 64e-5f;

int64_t slot_stride(const Delta& delta) { return delta.heads * kHead * kHead + 7; }

DeltaResult run_delta(const Level& level, const Delta& delta, const Sequences& sequences, bool is_first,
                      const std::vector<float>& pool) {
  Exact<float> r(delta.r), k(delta.k), v(delta.v), decay(delta.decay), rate(delta.rate), gate(delta.gate),
      value_gate(delta.value_gate), first_value(delta.first_value), k_k(delta.k_k), k_a(delta.k_a),
      r_k(delta.r_k), norm_weight(delta.norm_weight), norm_bias(delta.norm_bias), state(pool),
      out(delta.tokens * delta.heads * kHead);
  level.delta_rule({sequences, delta.heads, r.data(), k.data(), v.data(), decay.data(), rate.data(),
                    is_first ? nullptr : value_gate.data(), gate.data(), first_value.data(), k_k.data(),
                    k_a.data(), r_k.data(), norm_weight.data(), norm_bias.data(), kNormEps, state.data(),
                    slot_stride(delta), out.data()});
  return {out.copy(), first_value.copy(), state.copy()};
}

// One row of one head in float64. S: [key][value]; at: the head's place in a row's arrays.
std::vector<double> exact_row(const Delta& delta, size_t at, size_t channel, bool is_first, double* S) {
  std::vector<double> w, a, n, k, v, y(size_t(kHead), 0.0), out;
  double length = 0.0, bonus = 0.0, mean = 0.0, variance = 0.0;
  for (size_t i = 0; i < size_t(kHead); ++i) {
    w.push_back(std::exp(-std::exp(-0.5) * sigmoid(double(delta.decay[at + i]))));
    a.push_back(sigmoid(double(delta.rate[at + i])));
    n.push_back(double(delta.k[at + i]) * double(delta.k_k[channel + i]));
    length += n[i] * n[i];
    k.push_back(double(delta.k[at + i]) * (1.0 + (a[i] - 1.0) * double(delta.k_a[channel + i])));
    bonus += double(delta.r[at + i]) * k[i] * double(delta.r_k[channel + i]);
    v.push_back(double(delta.v[at + i]));
    if (!is_first)
      v[i] += (double(delta.first_value[at + i]) - v[i]) * sigmoid(double(delta.value_gate[at + i]));
  }
  for (double& each : n) each /= std::sqrt(length);
  for (size_t i = 0; i < size_t(kHead); ++i) {
    double held = 0.0;
    for (size_t j = 0; j < size_t(kHead); ++j) held += S[j * size_t(kHead) + i] * n[j];
    for (size_t j = 0; j < size_t(kHead); ++j) {
      double& state = S[j * size_t(kHead) + i];
      state = state * w[j] - held * n[j] * a[j] + v[i] * k[j];
      y[i] += state * double(delta.r[at + j]);
    }
    mean += y[i] / double(kHead);
  }
  for (const double each : y) variance += (each - mean) * (each - mean) / double(kHead);
  for (size_t i = 0; i < size_t(kHead); ++i) {
    const double normed = (y[i] - mean) / std::sqrt(variance + double(kNormEps));
    const double read =
        normed * double(delta.norm_weight[channel + i]) + double(delta.norm_bias[channel + i]);
    out.push_back((read + bonus * v[i]) * double(delta.gate[at + i]));
  }
  return out;
}

void check_delta_rule(const Level& level, Checks& checks, int64_t heads, bool is_first, Random& random) {
  const Ragged ragged;
  const Delta delta(heads, ragged.tokens(), random);
  const std::vector<float> pool =
      random.numbers((Ragged::kSlots - 1) * slot_stride(delta) + heads * kHead * kHead);
  RaggedMemory memory(ragged);
  const DeltaResult got = run_delta(level, delta, memory.in_slots(), is_first, pool);

  std::vector<double> want(got.out.size(), 0.0), moved(pool.begin(), pool.end());
  for (int64_t s = 0; s < ragged.count(); ++s) {
    const int64_t slot = ragged.slots[size_t(s)];
    if (slot == kPadSlotId) continue;
    for (int64_t head = 0; head < heads; ++head) {
      double* const S = moved.data() + slot * slot_stride(delta) + head * kHead * kHead;
      for (int64_t i = 0; i < kHead * kHead && !ragged.held[size_t(s)]; ++i) S[i] = 0.0;
      for (int64_t t = ragged.bounds[size_t(s)]; t < ragged.bounds[size_t(s) + 1]; ++t) {
        const size_t channel = size_t(head * kHead), at = size_t(t * heads * kHead) + channel;
        const std::vector<double> row = exact_row(delta, at, channel, is_first, S);
        std::copy(row.begin(), row.end(), want.begin() + int64_t(at));
      }
    }
  }
  double largest = 0.0;
  for (const double each : want) largest = std::fmax(largest, std::fabs(each));
  checks.close("delta_rule", got.out.data(), want, std::vector<double>(want.size(), 1e-5 * largest));
  checks.close("the states", got.pool.data(), moved, std::vector<double>(moved.size(), 3e-5));
  checks.same_bits("the first value", got.first_value.data(), (is_first ? delta.v : delta.first_value).data(),
                   is_first ? 0 : int64_t(delta.v.size()) * 4);
}

// Rows [begin, end) of the operands.
Delta piece_of(const Delta& whole, int64_t begin, int64_t end) {
  Delta piece = whole;
  const int64_t width = whole.heads * kHead;
  piece.tokens = end - begin;
  for (auto* rows : {&piece.r, &piece.k, &piece.v, &piece.decay, &piece.rate, &piece.value_gate, &piece.gate,
                     &piece.first_value})
    *rows = std::vector<float>(rows->begin() + begin * width, rows->begin() + end * width);
  return piece;
}

void check_pieces(const Level& level, Checks& checks, Random& random) {
  constexpr int64_t kTokens = 11, kHeads = 2;
  const Delta delta(kHeads, kTokens, random);
  const std::vector<float> pool = random.numbers(kHeads * kHead * kHead);
  const auto run = [&](const Delta& part, const std::vector<float>& from) {
    Exact<int32_t> bounds(std::vector<int32_t>{0, int32_t(part.tokens)}), slots(std::vector<int32_t>{0});
    return run_delta(level, part, {1, bounds.data(), slots.data(), nullptr}, false, from);
  };
  const DeltaResult whole = run(delta, pool);
  std::vector<float> out, state = pool;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 4}, {4, kTokens}}) {
    const DeltaResult part = run(piece_of(delta, begin, end), state);
    out.insert(out.end(), part.out.begin(), part.out.end());
    state = part.pool;
  }
  checks.same_bits("rows in pieces", out.data(), whole.out.data(), int64_t(out.size()) * 4);
  checks.same_bits("the state after pieces", state.data(), whole.pool.data(), int64_t(state.size()) * 4);
}

}  // namespace

void test_rwkv7(const Level& level, Checks& checks) {
  Random random(19);
  for (const int64_t width : {1, 3, 16, 63, 64, 65, 385}) {
    checks.about("%lld channels at %s", (long long)width, level.name.c_str());
    check_layer_norm(level, checks, 3, width, random);
    check_apply(level, checks, width, random);
    check_token_shift(level, checks, width, random);
  }
  for (const int64_t heads : {1, 3}) {
    checks.about("%lld heads at %s", (long long)heads, level.name.c_str());
    check_delta_rule(level, checks, heads, true, random);
    check_delta_rule(level, checks, heads, false, random);
  }
  checks.about("pieces at %s", level.name.c_str());
  check_pieces(level, checks, random);
}

}  // namespace pararnn
