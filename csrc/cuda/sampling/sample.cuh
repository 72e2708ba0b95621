// Logits to ids: a block has one row and goes over its scores a few times; nothing is stored beside them. It
// draws what csrc/cpu/sampling/sample.cpp draws from the same logits, since the weights of a draw are whole
// numbers.
//
// top_k and top_p both are a cut through the ranking, the highest score first, of equal scores the lowest id:
// at the first candidate with which `mass`, a count or the weights, reaches what is wanted. The cut is sought
// in a histogram of how far scores lie below the best; then in finer and finer ones of the bucket that it
// falls into, until few enough candidates are left to rank them one by one.
#pragma once

#include "cuda/sampling/block_sums.cuh"
#include "math/draw.h"

namespace pararnn {
namespace PARARNN_ISA {

struct Ranked {
  double score;
  int64_t id;
};

PARARNN_DEVICE bool is_ahead(const Ranked& x, const Ranked& y) {
  return x.score > y.score || (x.score == y.score && x.id < y.id);
}

// Whole numbers that rise with the score.
PARARNN_DEVICE uint64_t rank_key(double score) {
  const double without_sign_of_zero = score + 0.0;
  uint64_t bits;
  memcpy(&bits, &without_sign_of_zero, sizeof(bits));
  return bits >> 63 ? ~bits : bits | uint64_t(1) << 63;
}

struct KeyRange {
  uint64_t low;
  uint64_t high;

  PARARNN_DEVICE bool has(uint64_t key) const { return key >= low && key <= high; }
};

// A sum of whole numbers in two words: shared memory adds words, but 64 bits only in a loop of
// compare-and-swap, which many that add to one place at once drag out.
struct WideSum {
  uint32_t low;
  uint32_t high;

  PARARNN_DEVICE void add(int64_t value) {
    const uint32_t part = uint32_t(value);
    const uint32_t carry = fetch_add(&low, part) > ~part;
    const uint32_t rest = uint32_t(uint64_t(value) >> 32) + carry;
    if (rest != 0) fetch_add(&high, rest);
  }
  PARARNN_DEVICE int64_t value() const { return int64_t(uint64_t(high) << 32 | low); }
};

constexpr int kListed = 256;

// From so many lanes of a bucket on, a warp adds them up before one of them goes to memory.
constexpr int kWorthSumming = 4;

struct Listed {
  Ranked candidate;
  int64_t mass;
};

// answer, place: what one thread has found for all.
template <int kThreads>
struct SampleMemory {
  WideSum masses[kBuckets];
  int32_t counts[kBuckets];
  Listed list[kListed];
  int32_t listed;
  int32_t place;
  int64_t answer;
  PerWarp<kThreads, int64_t> sums;
  PerWarp<kThreads, Ranked> bests;
  PerWarp<kThreads, KeyRange> ranges;
};

template <int kThreads>
class RowSampler {
 public:
  using Memory = SampleMemory<kThreads>;

  PARARNN_DEVICE RowSampler(const SampleRow& row, Memory& memory) : row_(row), memory_(memory) {}

  // The id, the same in every thread; -1 if the row has NaN, +inf, or -inf for every id that may be drawn.
  // Ends after a barrier.
  PARARNN_DEVICE int64_t choose() {
    const double infinity = __builtin_huge_val();
    // NaN and +inf stand above all.
    Ranked best = best_of([&](int64_t id) {
      const float x = row_.logits[id];
      return x < float(infinity) ? double(x) : infinity;
    });
    if (best.score == infinity || best.score == -infinity) return -1;
    if (row_.changes_logits() || row_.is_masked()) best = best_of([&](int64_t id) { return score(id); });
    if (best.score == -infinity) return -1;
    if (row_.is_greedy()) return best.id;
    best_ = best.score;
    Ranked last{-infinity, row_.vocab};
    if (row_.has_top_k()) last = cut_by_count(row_.counters.top_k, last);
    if (row_.has_top_p()) last = cut_by_weight(row_.numbers.top_p * double(weight_until(last)), last);
    return draw(last);
  }

 private:
  PARARNN_DEVICE double tempered(double score) const { return (score - best_) / row_.numbers.temperature; }
  PARARNN_DEVICE int64_t weight_of(double score) const { return int64_t(weight(tempered(score))); }

  PARARNN_DEVICE double score(int64_t id) const {
    if (row_.forbids(id)) return -__builtin_huge_val();
    double score = double(row_.logits[id]);
    if (row_.num_biases > 0) score = biased(score, id);
    if (row_.repeats() && (row_.seen[id / 8] >> (id % 8) & 1)) score = row_.repeated(score);
    if (row_.counts_matter() && row_.counts[id] != 0) score = row_.counted(score, row_.counts[id]);
    return score;
  }

  // The ids of biases rise.
  PARARNN_DEVICE double biased(double score, int64_t id) const {
    int64_t low = 0, high = row_.num_biases;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      row_.bias_ids[middle] < id ? low = middle + 1 : high = middle;
    }
    return low < row_.num_biases && row_.bias_ids[low] == id ? score + row_.biases[low] : score;
  }

  // Calls visit(id) for the thread's share of all ids.
  template <class Visit>
  PARARNN_DEVICE void for_ids(const Visit& visit) const {
    for (int64_t id = thread_index(); id < row_.vocab; id += kThreads) visit(id);
  }

  template <class ScoreOf>
  PARARNN_DEVICE Ranked best_of(const ScoreOf& score_of) {
    const auto better = [](const Ranked& x, const Ranked& y) { return is_ahead(y, x) ? y : x; };
    Ranked best{-__builtin_huge_val(), row_.vocab};
    for_ids([&](int64_t id) { best = better(best, {score_of(id), id}); });
    return best_of_block<kThreads>(best, memory_.bests, better);
  }

  // Of all up to `last` in rank.
  PARARNN_DEVICE int64_t weight_until(const Ranked& last) {
    int64_t sum = 0;
    for_ids([&](int64_t id) {
      const double its = score(id);
      if (!is_ahead(last, {its, id})) sum += weight_of(its);
    });
    return sum_block<kThreads>(sum, memory_.sums).total;
  }

  PARARNN_DEVICE Ranked cut_by_count(int64_t count, const Ranked& last) {
    return cut(last, [](double) { return int64_t(1); }, [&](int64_t held) { return held >= count; });
  }

  PARARNN_DEVICE Ranked cut_by_weight(double wanted, const Ranked& last) {
    return cut(
        last, [&](double score) { return weight_of(score); },
        [&](int64_t held) { return held > 0 && double(held) >= wanted; });
  }

  // The first in rank, of those up to `last`, with which the masses reach what is wanted. All together do.
  template <class MassOf, class Reached>
  PARARNN_DEVICE Ranked cut(const Ranked& last, const MassOf& mass_of, const Reached& reached) {
    int64_t before = 0;
    const auto is_kept = [&](double score, int64_t id) { return !is_ahead(last, {score, id}); };
    const auto depth_of = [&](double score) { return bucket_of(tempered(score)); };
    const int bucket = pick_bucket(is_kept, depth_of, mass_of, reached, before);
    int32_t count = memory_.counts[bucket];
    const auto is_inside = [&](double score, int64_t id) {
      return is_kept(score, id) && depth_of(score) == bucket;
    };
    if (count <= kListed) return rank(is_inside, mass_of, reached, before);

    KeyRange range = range_of(is_inside);
    const auto is_in_range = [&](double score, int64_t id) {
      return is_kept(score, id) && depth_of(score) == bucket && range.has(rank_key(score));
    };
    while (count > kListed) {
      if (range.low == range.high) return tie(is_in_range, mass_of, reached, before);
      int shift = 0;
      while ((range.high - range.low) >> shift >= uint64_t(kBuckets)) ++shift;
      const uint64_t high = range.high;
      const auto step_of = [&](double score) { return int((high - rank_key(score)) >> shift); };
      const int step = pick_bucket(is_in_range, step_of, mass_of, reached, before);
      count = memory_.counts[step];
      const uint64_t down = uint64_t(step) << shift, width = (uint64_t(1) << shift) - 1;
      range.high = high - down;
      if (range.high - range.low > width) range.low = range.high - width;
    }
    return rank(is_in_range, mass_of, reached, before);
  }

  // A histogram of those that are inside; the bucket in which what is wanted is reached. before: the masses
  // ahead of those inside, and then of that bucket. Its count stays in memory until the next call. Ids
  // without mass are left out here and later: nothing is reached with one, and at low temperatures they are
  // most ids.
  template <class Inside, class BucketOf, class MassOf, class Reached>
  PARARNN_DEVICE int pick_bucket(const Inside& is_inside, const BucketOf& its_bucket, const MassOf& mass_of,
                                 const Reached& reached, int64_t& before) {
    sync_block();  // others may still look at a count of the last call
    for (int i = thread_index(); i < kBuckets; i += kThreads) {
      memory_.masses[i] = {0, 0};
      memory_.counts[i] = 0;
    }
    sync_block();
    // Whole warps go round, those without an id too: their lanes add up together.
    for (int64_t first = 0; first < row_.vocab; first += kThreads) {
      const int64_t id = first + thread_index();
      int bucket = 0;
      int64_t mass = 0;
      if (id < row_.vocab) {
        const double its = score(id);
        if (is_inside(its, id) && (mass = mass_of(its)) > 0) bucket = its_bucket(its);
      }
      add_in_warp(bucket, mass);
    }
    sync_block();
    for (int first = 0; first < kBuckets; first += kThreads) {
      const int i = first + thread_index();
      const int64_t mass = i < kBuckets ? memory_.masses[i].value() : 0;
      const Sums sums = sum_block<kThreads>(mass, memory_.sums);
      const int64_t held = before + sums.before;
      if (reached(held + mass) && !reached(held)) {
        memory_.place = i;
        memory_.answer = held;
      }
      if (reached(before + sums.total)) break;
      before += sums.total;
    }
    sync_block();
    before = memory_.answer;
    return memory_.place;
  }

  // Adds each lane's mass, if it has one, to its bucket. Lanes of one bucket are added up first, for the two
  // buckets that come first: where scores lie close together most lanes have these.
  PARARNN_DEVICE void add_in_warp(int bucket, int64_t mass) {
    uint32_t left = lanes_where(mass > 0);
    PARARNN_UNROLL
    for (int round = 0; round < 2; ++round) {
      if (left == 0) return;
      const int lane = lowest_lane(left), common = shuffle_from(bucket, lane);
      const bool belongs = mass > 0 && bucket == common;
      const uint32_t group = lanes_where(belongs);
      if (count_lanes(group) < kWorthSumming) break;
      int64_t sum = belongs ? mass : 0;
      PARARNN_UNROLL
      for (int mask = kWarp / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
      if (thread_index() % kWarp == lane) add_to_bucket(common, sum, count_lanes(group));
      if (belongs) mass = 0;
      left &= ~group;
    }
    if (mass > 0) add_to_bucket(bucket, mass, 1);
  }

  PARARNN_DEVICE void add_to_bucket(int bucket, int64_t mass, int32_t count) {
    memory_.masses[bucket].add(mass);
    atomic_add(&memory_.counts[bucket], count);
  }

  template <class Inside>
  PARARNN_DEVICE KeyRange range_of(const Inside& is_inside) {
    KeyRange range{~uint64_t(0), 0};
    const auto wider = [](const KeyRange& x, const KeyRange& y) {
      return KeyRange{x.low < y.low ? x.low : y.low, x.high > y.high ? x.high : y.high};
    };
    for_ids([&](int64_t id) {
      const double its = score(id);
      if (is_inside(its, id)) range = wider(range, {rank_key(its), rank_key(its)});
    });
    return best_of_block<kThreads>(range, memory_.ranges, wider);
  }

  // Few enough are inside.
  template <class Inside, class MassOf, class Reached>
  PARARNN_DEVICE Ranked rank(const Inside& is_inside, const MassOf& mass_of, const Reached& reached,
                             int64_t before) {
    if (thread_index() == 0) memory_.listed = 0;
    sync_block();
    for_ids([&](int64_t id) {
      const double its = score(id);
      if (!is_inside(its, id)) return;
      const int64_t mass = mass_of(its);
      if (mass > 0) memory_.list[fetch_add(&memory_.listed, 1)] = {{its, id}, mass};
    });
    sync_block();
    for (int i = thread_index(); i < memory_.listed; i += kThreads) {
      const Listed one = memory_.list[i];
      int64_t held = before;
      for (int j = 0; j < memory_.listed; ++j) {
        if (is_ahead(memory_.list[j].candidate, one.candidate)) held += memory_.list[j].mass;
      }
      if (reached(held + one.mass) && !reached(held)) memory_.place = i;
    }
    sync_block();
    return memory_.list[memory_.place].candidate;
  }

  // All inside have one score.
  template <class Inside, class MassOf, class Reached>
  PARARNN_DEVICE Ranked tie(const Inside& is_inside, const MassOf& mass_of, const Reached& reached,
                            int64_t before) {
    const auto value_of = [&](int64_t id) {
      const double its = score(id);
      return is_inside(its, id) ? mass_of(its) : 0;
    };
    const int64_t id = first_reaching(value_of, reached, before);
    return {score(id), id};
  }

  PARARNN_DEVICE int64_t draw(const Ranked& last) {
    const double least = row_.least_weight();
    const auto value_of = [&](int64_t id) {
      const double its = score(id);
      const int64_t weight = is_ahead(last, {its, id}) ? 0 : weight_of(its);
      return double(weight) < least ? 0 : weight;
    };
    int64_t sum = 0;
    for_ids([&](int64_t id) { sum += value_of(id); });
    const int64_t target = row_.target(sum_block<kThreads>(sum, memory_.sums).total);
    return first_reaching(value_of, [&](int64_t held) { return held > target; }, 0);
  }

  // The first id, in the order of ids, with which the values, after `before`, reach what is wanted.
  template <class ValueOf, class Reached>
  PARARNN_DEVICE int64_t first_reaching(const ValueOf& value_of, const Reached& reached, int64_t before) {
    const int64_t share = (row_.vocab + kThreads - 1) / kThreads, first = share * thread_index();
    const int64_t end = first + share < row_.vocab ? first + share : row_.vocab;
    int64_t sum = 0;
    for (int64_t id = first; id < end; ++id) sum += value_of(id);
    int64_t held = before + sum_block<kThreads>(sum, memory_.sums).before;
    if (reached(held + sum) && !reached(held)) {
      int64_t id = first;
      for (held += value_of(id); !reached(held); held += value_of(id)) ++id;
      memory_.answer = id;
    }
    sync_block();
    return memory_.answer;
  }

  const SampleRow row_;
  Memory& memory_;
  double best_ = 0.0;
};

template <int kThreads>
PARARNN_DEVICE void sample_block(const SampleParams& p) {
  using Memory = SampleMemory<kThreads>;
  PARARNN_SHARED(Memory, memory);
  const int64_t i = block_index();
  const SampleRow row = SampleRow::of(p, i);
  const int64_t token = RowSampler<kThreads>(row, memory).choose();
  if (thread_index() != 0) return;
  p.tokens[i] = token;
  if (token >= 0) count_draw(p, i, row, token);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
