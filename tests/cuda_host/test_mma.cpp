// What stands in for tensor cores, against plain loops.
#include "cuda/products/mma.cuh"
#include "cuda/products/weight_words.cuh"
#include "host_tests.h"
#include "random.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

float random_narrow(Random& random) { return widen(narrow(random.number())); }

uint32_t pair_of(float first, float second) {
  return uint32_t(narrow(first).bits) | uint32_t(narrow(second).bits) << 16;
}

float half(uint32_t pair, int which) { return widen(BFloat16{uint16_t(pair >> 16 * which)}); }

struct Product {
  float a[kMmaRows][kMmaDepth], b[kMmaDepth][kMmaColumns], sums[kMmaRows][kMmaColumns];
};

// The fragments as the PTX ISA draws them for mma.m16n8k16 and .bf16, element by element: a0 to a7, b0 to b3,
// c0 to c3.
void multiply(Product& p) {
  const int group = thread_index() % kWarp / 4, place = thread_index() % 4;
  const auto a_at = [&](int i) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    const int column = place * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    return p.a[row][column];
  };
  const auto b_at = [&](int i) { return p.b[place * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group]; };
  const auto c_at = [&](int i) -> float& { return p.sums[i < 2 ? group : group + 8][place * 2 + (i & 1)]; };
  float sums[4] = {c_at(0), c_at(1), c_at(2), c_at(3)};
  mma(sums,
      {pair_of(a_at(0), a_at(1)), pair_of(a_at(2), a_at(3)), pair_of(a_at(4), a_at(5)),
       pair_of(a_at(6), a_at(7))},
      {pair_of(b_at(0), b_at(1)), pair_of(b_at(2), b_at(3))});
  for (int i = 0; i < 4; ++i) c_at(i) = sums[i];
}

void check_mma(Checks& checks, fibers::Order order) {
  checks.about("mma, order %d", int(order));
  Random random(41);
  Product product;
  for (auto& row : product.a)
    for (float& each : row) each = random_narrow(random);
  for (auto& row : product.b)
    for (float& each : row) each = random_narrow(random);
  std::vector<double> want;
  for (int i = 0; i < kMmaRows; ++i) {
    for (int j = 0; j < kMmaColumns; ++j) {
      product.sums[i][j] = random.number();
      double sum = double(product.sums[i][j]);
      for (int k = 0; k < kMmaDepth; ++k) sum += double(product.a[i][k]) * double(product.b[k][j]);
      want.push_back(sum);
    }
  }
  fibers::run_grid(1, kWarp, order, [&] { multiply(product); });
  checks.close("sums", &product.sums[0][0], want, std::vector<double>(want.size(), 1e-6));
}

// Every byte, in every place of a word.
void check_int8(Checks& checks) {
  checks.about("weights of 8 bits");
  bool all = true;
  for (int byte = 0; byte < 256; ++byte) {
    for (int place = 0; place < 4; ++place) {
      const uint32_t others = 0x7f01ff81u, mask = 0xffu << 8 * place;
      const uint32_t word = (others & ~mask) | uint32_t(byte) << 8 * place;
      uint32_t pairs[2];
      Int8Words::widen(word, pairs);
      for (int i = 0; i < 4; ++i) all = all && half(pairs[i / 2], i % 2) == float(int8_t(word >> 8 * i));
    }
  }
  checks.that(all, "each is its value");
}

// Every nibble in every place, beside the input of that place.
void check_int4(Checks& checks) {
  checks.about("weights of 4 bits");
  const uint32_t inputs[4] = {pair_of(0, 1), pair_of(2, 3), pair_of(4, 5), pair_of(6, 7)};
  uint32_t matched[4];
  Int4Words::match(inputs, matched);
  bool all = true;
  for (uint32_t start = 0; start < 16; ++start) {
    uint32_t word = 0, pairs[4];
    for (uint32_t i = 0; i < 8; ++i) word |= (start + 3 * i) % 16 << 4 * i;
    Int4Words::widen(word, pairs);
    int seen = 0;
    for (int i = 0; i < 8; ++i) {
      const int input = int(half(matched[i / 2], i % 2));
      all = all && half(pairs[i / 2], i % 2) == float(int(word >> 4 * input & 15) - 8);
      seen |= 1 << input;
    }
    all = all && seen == 255;
  }
  checks.that(all, "each is its value and meets its input");
}

}  // namespace
}  // namespace PARARNN_ISA

void test_mma(Checks& checks) {
  for (const fibers::Order order : kOrders) PARARNN_ISA::check_mma(checks, order);
  PARARNN_ISA::check_int8(checks);
  PARARNN_ISA::check_int4(checks);
}

}  // namespace pararnn
