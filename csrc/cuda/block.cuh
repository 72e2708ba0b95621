// All that a kernel knows of threads, warps, memory shared by a block and accesses of several words. Tests
// put fibers in its place (tests/cuda_host/fibers.h), so that the text of the kernels runs without a GPU too.
//
// A warp's operations are for all its threads at once: they are never called where only some threads go.
#pragma once

#include <cstdint>

#include "math/host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

constexpr int kWarp = 32;

// Words that lie together and go over in one access.
template <int kCount>
struct alignas(4 * kCount) Words {
  uint32_t of[kCount];
};

}  // namespace PARARNN_ISA
}  // namespace pararnn

#ifdef PARARNN_CUDA_HOST
#include "fibers.h"
#else

#define PARARNN_DEVICE __device__ __forceinline__
#define PARARNN_SHARED(Type, name) __shared__ Type name
#define PARARNN_UNROLL _Pragma("unroll")
#define PARARNN_UNROLL_BY(count) PARARNN_PRAGMA(unroll count)
#define PARARNN_PRAGMA(text) _Pragma(#text)

namespace pararnn {
namespace PARARNN_ISA {

template <class... Arguments>
void start_grid(void (*kernel)(Arguments...), int64_t blocks, int threads, void* stream,
                Arguments... arguments) {
  kernel<<<unsigned(blocks), unsigned(threads), 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
}

constexpr unsigned kWholeWarp = 0xffffffffu;

PARARNN_DEVICE int thread_index() { return int(threadIdx.x); }
PARARNN_DEVICE int64_t block_index() { return int64_t(blockIdx.x); }

PARARNN_DEVICE void sync_block() { __syncthreads(); }
PARARNN_DEVICE void sync_warp() { __syncwarp(kWholeWarp); }
PARARNN_DEVICE bool any_in_warp(bool condition) { return __any_sync(kWholeWarp, condition) != 0; }
// A bit for each lane of the warp.
PARARNN_DEVICE uint32_t lanes_where(bool condition) { return __ballot_sync(kWholeWarp, condition); }
PARARNN_DEVICE int lowest_lane(uint32_t lanes) { return __ffs(int(lanes)) - 1; }
PARARNN_DEVICE int count_lanes(uint32_t lanes) { return __popc(lanes); }
// A barrier too.
PARARNN_DEVICE bool any_in_block(bool condition) { return __syncthreads_or(condition) != 0; }

// A value of several words goes word by word.
template <class T, class Move>
PARARNN_DEVICE T shuffle_words(const T& value, const Move& move) {
  static_assert(sizeof(T) % sizeof(uint32_t) == 0, "shuffles move whole words");
  constexpr int kWords = int(sizeof(T) / sizeof(uint32_t));
  uint32_t words[kWords];
  T out;
  memcpy(words, &value, sizeof(T));
  PARARNN_UNROLL
  for (int i = 0; i < kWords; ++i) words[i] = move(words[i]);
  memcpy(&out, words, sizeof(T));
  return out;
}

// The value of the lane `delta` below; a lane that has none there gets its own.
template <class T>
PARARNN_DEVICE T shuffle_up(const T& value, int delta) {
  return shuffle_words(value, [delta](uint32_t word) { return __shfl_up_sync(kWholeWarp, word, delta); });
}

template <class T>
PARARNN_DEVICE T shuffle_from(const T& value, int lane) {
  return shuffle_words(value, [lane](uint32_t word) { return __shfl_sync(kWholeWarp, word, lane); });
}

template <class T>
PARARNN_DEVICE T shuffle_xor(const T& value, int mask) {
  return shuffle_words(value, [mask](uint32_t word) { return __shfl_xor_sync(kWholeWarp, word, mask); });
}

// Of memory that no kernel writes meanwhile.
PARARNN_DEVICE Words<2> load_words(const Words<2>* from) {
  const uint2 words = __ldg(reinterpret_cast<const uint2*>(from));
  return {{words.x, words.y}};
}
PARARNN_DEVICE Words<4> load_words(const Words<4>* from) {
  const uint4 words = __ldg(reinterpret_cast<const uint4*>(from));
  return {{words.x, words.y, words.z, words.w}};
}

// The same where nobody else on this multiprocessor will ask for them.
PARARNN_DEVICE Words<4> load_words_once(const Words<4>* from) {
  Words<4> words;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(words.of[0]), "=r"(words.of[1]), "=r"(words.of[2]), "=r"(words.of[3])
      : "l"(from));
  return words;
}

// One number: where stores stand in branches, a pair is taken apart into two.
PARARNN_DEVICE void store_words(Words<2>* to, const Words<2>& words) {
  *reinterpret_cast<unsigned long long*>(to) =
      static_cast<unsigned long long>(words.of[1]) << 32 | words.of[0];
}
PARARNN_DEVICE void store_words(Words<4>* to, const Words<4>& words) {
  *reinterpret_cast<uint4*>(to) = make_uint4(words.of[0], words.of[1], words.of[2], words.of[3]);
}

PARARNN_DEVICE void atomic_max(uint32_t* to, uint32_t value) { atomicMax(to, value); }
PARARNN_DEVICE void atomic_max(int32_t* to, int32_t value) { atomicMax(to, value); }
PARARNN_DEVICE void atomic_add(int32_t* to, int32_t value) { atomicAdd(to, value); }
// Returns what stood there before.
PARARNN_DEVICE int32_t fetch_add(int32_t* to, int32_t value) { return atomicAdd(to, value); }
PARARNN_DEVICE uint32_t fetch_add(uint32_t* to, uint32_t value) { return atomicAdd(to, value); }

}  // namespace PARARNN_ISA
}  // namespace pararnn

#endif
