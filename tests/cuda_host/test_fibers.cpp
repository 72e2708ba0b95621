// The fibers themselves: right kernels give the same in every order, and wrong ones are found out.
#include <stdexcept>
#include <string>
#include <vector>

#include "host_tests.h"
#include "races.h"

namespace pararnn {
namespace PARARNN_ISA {
namespace {

constexpr int kThreads = 64;

struct Numbers {
  float of[kThreads];
};

// Every thread leaves a number and takes that of its neighbour.
template <int kTowards, bool kHasBarrier>
void pass_on(float* out) {
  PARARNN_SHARED(Numbers, numbers);
  numbers.of[thread_index()] = float(thread_index());
  if (kHasBarrier) sync_block();
  out[thread_index()] = numbers.of[(thread_index() + kTowards + kThreads) % kThreads];
}

// Sums the lanes below and the thread's own in a warp; the barrier comes between warps that differ.
void add_up(float* out) {
  float sum = 1.0f;
  for (int delta = 1; delta < kWarp; delta *= 2) {
    const float below = shuffle_up(sum, delta);
    if (thread_index() % kWarp >= delta) sum += below;
  }
  if (thread_index() < kWarp) sum += shuffle_xor(0.0f, 1);
  sync_block();
  out[thread_index()] = any_in_warp(thread_index() == 3) ? sum : -sum;
}

void shuffle_in_some_lanes(float* out) {
  float value = 1.0f;
  if (thread_index() % kWarp < 16) value = shuffle_up(value, 1);
  out[thread_index()] = value;
}

void shuffle_in_two_places(float* out) {
  float value = 1.0f;
  if (thread_index() % 2 == 0) {
    value = shuffle_up(value, 1);
  } else {
    value = shuffle_up(value, 2);
  }
  out[thread_index()] = value;
}

void leave_before_a_barrier(float* out) {
  if (thread_index() == 40) return;
  sync_block();
  out[thread_index()] = 1.0f;
}

void leave_before_a_barrier_as_a_warp(float* out) {
  if (thread_index() >= kWarp) return;
  sync_block();
  out[thread_index()] = 1.0f;
}

void barrier_in_one_warp_shuffle_in_the_other(float* out) {
  if (thread_index() < kWarp) sync_block();
  out[thread_index()] = shuffle_up(1.0f, 1);
}

// The next three give the same in every order: only the rules of memory forbid them.

void write_the_same_without_a_barrier(float* out) {
  PARARNN_SHARED(Numbers, numbers);
  numbers.of[0] = 1.0f;
  out[thread_index()] = numbers.of[0];
}

void take_a_shuffle_for_a_barrier(float* out) {
  PARARNN_SHARED(Numbers, numbers);
  numbers.of[thread_index()] = float(thread_index());
  const float one = shuffle_up(1.0f, 1);
  out[thread_index()] = numbers.of[thread_index() ^ 1] * one;
}

void write_where_another_block_does(float* out) { out[thread_index() - block_index() * kThreads] = 1.0f; }

// What they should have done.
void sync_a_warp(float* out) {
  PARARNN_SHARED(Numbers, numbers);
  numbers.of[thread_index()] = float(thread_index());
  sync_warp();
  out[thread_index()] = numbers.of[thread_index() ^ 1];
}

using Kernel = void (*)(float*);

constexpr int kBlocks = 2;

std::vector<float> run(Kernel kernel, fibers::Order order) {
  std::vector<float> out(kBlocks * kThreads, -1.0f);
  fibers::run_grid(kBlocks, kThreads, order, [&] { kernel(out.data() + block_index() * kThreads); });
  return out;
}

// Of the second of two blocks: what the first left in shared memory does not count.
bool gives(Kernel kernel, float (*want)(int thread), fibers::Order order) {
  const std::vector<float> got = run(kernel, order);
  for (int i = 0; i < kThreads; ++i) {
    if (!(got[size_t((kBlocks - 1) * kThreads + i)] == want(i))) return false;
  }
  return true;
}

bool gives_in_every_order(Kernel kernel, float (*want)(int thread)) {
  bool all = true;
  for (const fibers::Order order : kOrders) all = gives(kernel, want, order) && all;
  return all;
}

// Why the kernel is refused; empty if it is not.
std::string refusal(Kernel kernel, fibers::Order order) {
  try {
    run(kernel, order);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

bool comes_apart(Kernel kernel) {
  for (const fibers::Order order : kOrders) {
    if (refusal(kernel, order).find("threads went apart") == std::string::npos) return false;
  }
  return true;
}

bool is_seen_to_race(Kernel kernel) {
  for (const fibers::Order order : kOrders) {
    const bool is_refused = refusal(kernel, order).find("race") != std::string::npos;
    if (is_refused != fibers::races::are_found()) return false;
  }
  return true;
}

bool is_noticed(Kernel kernel, float (*want)(int thread)) {
  return fibers::races::are_found() ? is_seen_to_race(kernel) : !gives_in_every_order(kernel, want);
}

float next(int thread) { return float((thread + 1) % kThreads); }
float previous(int thread) { return float((thread + kThreads - 1) % kThreads); }
float partner(int thread) { return float(thread ^ 1); }
float running_sum(int thread) { return float(thread % kWarp + 1) * (thread < kWarp ? 1.0f : -1.0f); }

}  // namespace
}  // namespace PARARNN_ISA

void test_fibers(Checks& checks) {
  using namespace PARARNN_ISA;
  fibers::races::expect(true);
  checks.that(gives_in_every_order(pass_on<1, true>, next), "a barrier");
  checks.that(gives_in_every_order(pass_on<-1, true>, previous), "a barrier, the other way");
  checks.that(gives_in_every_order(add_up, running_sum), "shuffles and votes");
  checks.that(gives_in_every_order(sync_a_warp, partner), "a barrier of a warp");
  checks.that(is_noticed(pass_on<1, false>, next), "a missing barrier is noticed");
  checks.that(is_noticed(pass_on<-1, false>, previous), "and the other way");
  checks.that(comes_apart(shuffle_in_some_lanes), "a shuffle that half a warp does not reach");
  checks.that(comes_apart(shuffle_in_two_places), "a warp that shuffles in two places");
  checks.that(comes_apart(leave_before_a_barrier), "a thread that returns before a barrier");
  checks.that(comes_apart(leave_before_a_barrier_as_a_warp), "a warp that returns before a barrier");
  checks.that(comes_apart(barrier_in_one_warp_shuffle_in_the_other), "a barrier that only one warp reaches");
  checks.that(is_seen_to_race(write_the_same_without_a_barrier), "threads that write the same to one place");
  checks.that(is_seen_to_race(take_a_shuffle_for_a_barrier), "a shuffle in the place of a barrier");
  checks.that(is_seen_to_race(write_where_another_block_does), "two blocks that write to one place");
  fibers::races::expect(false);
}

}  // namespace pararnn
