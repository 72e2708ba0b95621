// What csrc/cuda/block.cuh is where there is no GPU: every thread of a block is a fiber that runs until it
// meets the others, at a barrier or in an operation of its warp. Blocks run one after the other.
#pragma once

#include <cstring>
#include <functional>
#include <stdexcept>
#include <type_traits>

#define PARARNN_DEVICE inline __attribute__((always_inline))
#define PARARNN_SHARED(Type, name) Type& name = *static_cast<Type*>(::pararnn::fibers::shared(sizeof(Type)))
#define PARARNN_UNROLL
#define PARARNN_UNROLL_BY(count)

namespace pararnn {
namespace fibers {

// In which order warps, and threads of a warp, run that can. What is right in every order needs no other
// luck.
enum class Order { kAscending, kDescending, kShuffled };

// Where an operation stands in the source. All that take part in one must have come to the same.
struct Site {
  const char* file;
  int line;
};

// Runs body in every thread of every block. Throws std::runtime_error where threads wait for others that
// never come, and under ThreadSanitizer where they race for memory: nothing but a barrier orders it, and
// nothing those of different blocks. Shared memory holds NaN when a block begins.
void run_grid(int64_t blocks, int threads, Order order, const std::function<void()>& body);

int thread_index();
int64_t block_index();
void* shared(size_t bytes);
void sync_block(Site site);
void sync_warp(Site site);

// Lays `bytes` of value before the other lanes; out gets those of lane `from` when all have done so.
void exchange(Site site, const void* value, void* out, size_t bytes, int from);
// The same, and out gets those of all lanes, one after the other.
void gather(Site site, const void* value, void* out, size_t bytes);
bool any_in_warp(Site site, bool condition);
bool any_in_block(Site site, bool condition);

}  // namespace fibers

namespace PARARNN_ISA {

template <class... Arguments>
void start_grid(void (*kernel)(Arguments...), int64_t blocks, int threads, void*, Arguments... arguments) {
  fibers::run_grid(blocks, threads, fibers::Order::kShuffled, [&] { kernel(arguments...); });
}

#define PARARNN_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

PARARNN_DEVICE int thread_index() { return fibers::thread_index(); }
PARARNN_DEVICE int64_t block_index() { return fibers::block_index(); }

inline void sync_block(PARARNN_SITE) { fibers::sync_block({file, line}); }
inline void sync_warp(PARARNN_SITE) { fibers::sync_warp({file, line}); }
inline bool any_in_warp(bool condition, PARARNN_SITE) { return fibers::any_in_warp({file, line}, condition); }
inline bool any_in_block(bool condition, PARARNN_SITE) {
  return fibers::any_in_block({file, line}, condition);
}

inline uint32_t lanes_where(bool condition, PARARNN_SITE) {
  const int32_t own = condition;
  int32_t all[kWarp];
  fibers::gather({file, line}, &own, all, sizeof(own));
  uint32_t lanes = 0;
  for (int lane = 0; lane < kWarp; ++lane) lanes |= uint32_t(all[lane]) << lane;
  return lanes;
}
PARARNN_DEVICE int lowest_lane(uint32_t lanes) { return __builtin_ctz(lanes); }
PARARNN_DEVICE int count_lanes(uint32_t lanes) { return __builtin_popcount(lanes); }

template <class T>
T value_of_lane(fibers::Site site, const T& value, int from) {
  static_assert(sizeof(T) % sizeof(uint32_t) == 0 && std::is_trivially_copyable<T>::value,
                "shuffles move whole words");
  T out;
  fibers::exchange(site, &value, &out, sizeof(T), from);
  return out;
}

template <class T>
T shuffle_up(const T& value, int delta, PARARNN_SITE) {
  const int lane = thread_index() % kWarp;
  return value_of_lane({file, line}, value, lane < delta ? lane : lane - delta);
}

template <class T>
T shuffle_from(const T& value, int lane, PARARNN_SITE) {
  return value_of_lane({file, line}, value, lane);
}

template <class T>
T shuffle_xor(const T& value, int mask, PARARNN_SITE) {
  return value_of_lane({file, line}, value, thread_index() % kWarp ^ mask);
}

#undef PARARNN_SITE

// As on a GPU, an address that is no multiple of the size is an error.
template <int kCount>
void check_place(const Words<kCount>* words) {
  if (reinterpret_cast<uintptr_t>(words) % sizeof(Words<kCount>) != 0)
    throw std::logic_error("several words at an address that is no multiple of their size");
}

template <int kCount>
Words<kCount> load_words(const Words<kCount>* from) {
  check_place(from);
  return *from;
}

template <int kCount>
Words<kCount> load_words_once(const Words<kCount>* from) {
  return load_words(from);
}

template <int kCount>
void store_words(Words<kCount>* to, const Words<kCount>& words) {
  check_place(to);
  *to = words;
}

template <class T>
void atomic_max(T* to, T value) {
  T old = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (value > old &&
         !__atomic_compare_exchange_n(to, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

template <class T>
T fetch_add(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}

template <class T>
void atomic_add(T* to, T value) {
  fetch_add(to, value);
}

}  // namespace PARARNN_ISA
}  // namespace pararnn
