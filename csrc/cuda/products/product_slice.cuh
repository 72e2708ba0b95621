// What a warp has of a slice of the inputs: 64 bytes of each row of weights, 16 bytes a lane, and the inputs
// that they meet.
//
// Which of a slice's inputs a lane holds does not matter to a sum, as long as weights and inputs agree: so
// what a lane reads in one piece are its fragments of several products, and each product is spread over the
// whole slice. Where a slice has more than one scale (kShared), lanes first swap words, so that a word's
// products are within a quarter of the slice, which has one.
#pragma once

#include "cuda/products/weight_words.cuh"
#include "cuda/widen.h"
#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kSliceWords = 4;  // a lane has of each row
constexpr int kEight = 8;       // rows of a fragment that lanes 4 g + t have together: row g is theirs

template <class Format>
constexpr int kSliceInputs = 4 * kSliceWords * Format::kValues;

template <class Format>
constexpr int kWordPairs = Format::kValues / 2;
template <class Format>
constexpr int kSlicePairs = kSliceWords * kWordPairs<Format>;

// k / group_size for k < 2^24, by a multiplication.
class GroupOf {
 public:
  PARARNN_DEVICE explicit GroupOf(int64_t group_size)
      : factor_(0xffffffffu / (uint32_t(group_size) / kUnit) + 1) {}
  PARARNN_DEVICE int operator()(int k) const { return int(uint64_t(uint32_t(k) / kUnit) * factor_ >> 32); }

 private:
  static constexpr uint32_t kUnit = uint32_t(kGroupStep) / 2;  // a factor of 2^32 would not fit
  uint32_t factor_;
};

// Lane t of four gives its word m to lane m, and gets word t of that.
PARARNN_DEVICE void swap_among_four(uint32_t (&words)[4]) {
  PARARNN_UNROLL
  for (int step = 1; step < 4; step *= 2) {
    const bool is_upper = (thread_index() & step) != 0;
    PARARNN_UNROLL
    for (int i = 0; i < 4; ++i) {
      if ((i & step) != 0) continue;
      const uint32_t given = is_upper ? words[i] : words[i + step];
      const uint32_t got = shuffle_xor(given, step);
      words[i] = is_upper ? got : words[i];
      words[i + step] = is_upper ? words[i + step] : got;
    }
  }
}

// As it was read: of each eight rows the words of the lane's row, and a scale. Nothing here may look at them:
// it would wait for them.
template <int kEights>
struct WeightSlice {
  uint32_t words[kEights][kSliceWords];
  BFloat16 scales[kEights];
};

// Where a lane reads its rows of a head, from `first` on. What does not exist is 0.
template <class Format, bool kShared, int kEights>
class WeightReader {
 public:
  PARARNN_DEVICE WeightReader(const PlainMatrix& matrix, int64_t head, int first)
      : inputs_(int(matrix.shape.inputs)),
        place_(thread_index() % 4),
        group_of_(Format::kHasScales ? matrix.group_size : kGroupStep),
        row_bytes_(matrix.shape.inputs / Format::kValues * 4),
        groups_(Format::kHasScales ? int((matrix.shape.inputs - 1) / matrix.group_size + 1) : 0) {
    const int rows = int(matrix.shape.gates * matrix.shape.outputs);
    const int own = first + thread_index() % kWarp / 4;
    const int64_t row = head * rows + own;
    rows_left_ = rows - own;
    data_ = static_cast<const unsigned char*>(matrix.rows) + row * row_bytes_ + place_ * 16;
    scales_ = matrix.scales + row * groups_;
  }

  PARARNN_DEVICE void load(WeightSlice<kEights>& slice, int begin) const {
    const bool has_words = begin + place_ * kSliceWords * Format::kValues < inputs_;
    const int scaled = begin + (kShared ? place_ * 4 * Format::kValues : 0);
    const int group = group_of_(scaled);
    PARARNN_UNROLL
    for (int i = 0; i < kEights; ++i) {
      const bool has_row = i * kEight < rows_left_;
      Words<kSliceWords> words{};
      if (has_row && has_words) {
        words = load_words_once(reinterpret_cast<const Words<kSliceWords>*>(
            data_ + i * kEight * row_bytes_ + uint32_t(begin) / Format::kValues * 4));
      }
      PARARNN_UNROLL
      for (int j = 0; j < kSliceWords; ++j) slice.words[i][j] = words.of[j];
      if constexpr (Format::kHasScales) {
        const bool has_scale = has_row && scaled < inputs_;
        slice.scales[i] = {has_scale ? scales_[i * kEight * int64_t(groups_) + group] : uint16_t(0)};
      }
    }
  }

 private:
  int inputs_, place_;
  GroupOf group_of_;
  int64_t row_bytes_;
  int groups_, rows_left_;
  const unsigned char* data_;
  const uint16_t* scales_;
};

// As tensor cores take it, the left operand.
template <class Format, bool kShared, int kEights>
struct WidenedSlice {
  static constexpr int kScales = kShared ? kSliceWords : 1;

  uint32_t pairs[kEights][kSlicePairs<Format>];
  float scales[kEights][kScales];

  PARARNN_DEVICE explicit WidenedSlice(WeightSlice<kEights> slice) {
    PARARNN_UNROLL
    for (int i = 0; i < kEights; ++i) {
      if constexpr (kShared) swap_among_four(slice.words[i]);
      PARARNN_UNROLL
      for (int word = 0; word < kSliceWords; ++word) {
        uint32_t widened[kWordPairs<Format>];
        Format::widen(slice.words[i][word], widened);
        PARARNN_UNROLL
        for (int j = 0; j < kWordPairs<Format>; ++j) pairs[i][word * kWordPairs<Format> + j] = widened[j];
      }
      if constexpr (Format::kHasScales) {
        const float own = widen(slice.scales[i]);
        PARARNN_UNROLL
        for (int j = 0; j < kScales; ++j) {
          scales[i][j] = kShared ? shuffle_from(own, (thread_index() % kWarp & ~3) + j) : own;
        }
      }
    }
  }
};

// Of one row of x the inputs that go with a lane's weights: as they lie there, or matched, as tensor cores
// take them, the right operand.
template <class Format>
struct InputSlice {
  uint32_t pairs[kSlicePairs<Format>];

  PARARNN_DEVICE InputSlice matched() const {
    InputSlice out;
    PARARNN_UNROLL
    for (int word = 0; word < kSliceWords; ++word) {
      uint32_t of_word[kWordPairs<Format>];
      Format::match(pairs + word * kWordPairs<Format>, of_word);
      PARARNN_UNROLL
      for (int j = 0; j < kWordPairs<Format>; ++j) out.pairs[word * kWordPairs<Format> + j] = of_word[j];
    }
    return out;
  }
};

// Where a lane reads the inputs that go with its weights, of row g of each tile of x.
template <class Format, bool kShared>
class InputReader {
 public:
  PARARNN_DEVICE InputReader(const RowProductParams& p, int64_t head) {
    const int lane = thread_index() % kWarp, place = lane % 4 * 2 * kRun;
    stride_ = p.weight.shape.heads * p.weight.shape.inputs;
    x_ = static_cast<const uint16_t*>(p.x) + lane / 4 * stride_ + head * p.weight.shape.inputs + place;
    inputs_left_ = int(p.weight.shape.inputs) - place;
    rows_left_ = int(p.rows) - lane / 4;
  }

  // What does not exist is 0.
  PARARNN_DEVICE void load(InputSlice<Format>& slice, int tile, int begin) const {
    constexpr int kPiece = kRun < 4 ? kRun : 4;
    const bool has_row = tile * kMmaColumns < rows_left_;
    const uint16_t* const from = x_ + tile * kMmaColumns * stride_ + begin;
    PARARNN_UNROLL
    for (int i = 0; i < kSlicePairs<Format>; i += kPiece) {
      const int k = 2 * (i / kRun * 4 * kRun + i % kRun);
      Words<kPiece> piece{};
      if (has_row && begin + k < inputs_left_)
        piece = load_words(reinterpret_cast<const Words<kPiece>*>(from + k));
      PARARNN_UNROLL
      for (int j = 0; j < kPiece; ++j) slice.pairs[i + j] = piece.of[j];
    }
  }

 private:
  static constexpr int kRun = kShared ? kWordPairs<Format> : kSlicePairs<Format>;  // pairs that lie together

  int inputs_left_, rows_left_;
  int64_t stride_;
  const uint16_t* x_;
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
