#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/block.cuh"
#include "random.h"

namespace pararnn {
namespace fibers {
namespace {

constexpr int kWarp = PARARNN_ISA::kWarp;
constexpr size_t kStackBytes = size_t(1) << 17;
constexpr size_t kSharedBytes = size_t(48) << 10;  // what every GPU gives a block without being asked
constexpr size_t kExchangeBytes = 128;

enum class Wait { kNothing, kWarp, kBlock, kFinished };

const char* name(Wait wait) {
  switch (wait) {
    case Wait::kNothing:
      return "running";
    case Wait::kWarp:
      return "in an operation of its warp";
    case Wait::kBlock:
      return "at a barrier of the block";
    default:
      return "finished";
  }
}

bool same(Site one, Site other) { return one.line == other.line && std::strcmp(one.file, other.file) == 0; }

struct Fiber {
  bool is_with(const Fiber& other) const { return wait == other.wait && same(site, other.site); }

  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Wait wait = Wait::kNothing;
  Site site{"", 0};
  bool has_shared = false;
  int exchanges = 0;
  // Two: a lane may be at the next exchange while others still read this one, but not further.
  alignas(16) char offered[2][kExchangeBytes];
};

class Block {
 public:
  Block(int threads, Order order, const std::function<void()>& body)
      : fibers_(size_t(threads)), shared_(new char[kSharedBytes]), order_(order), body_(body) {
    current = this;
  }
  ~Block() { current = nullptr; }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  static Block* current;

  void run(int64_t index);
  void meet(Wait wait, Site site);
  const char* exchange(Site site, const void* value, size_t bytes, int from);
  bool any_in_warp(Site site, bool condition);
  void* shared(size_t bytes);

  int thread() const { return thread_; }
  int64_t index() const { return index_; }

 private:
  static void start();

  int threads() const { return int(fibers_.size()); }
  void prepare();
  size_t choose(size_t count);
  bool advance_warp(int first);
  void resume(int thread);
  bool release(int first, int count, Wait wait);
  void check_together(int first, int end, int step) const;

  std::vector<Fiber> fibers_;
  std::unique_ptr<char[]> shared_;
  Order order_;
  Random random_{17};
  const std::function<void()>& body_;
  ucontext_t scheduler_;
  int thread_ = 0;
  int64_t index_ = 0;
};

Block* Block::current = nullptr;

void Block::start() {
  current->body_();
  current->meet(Wait::kFinished, {"", 0});
}

void Block::prepare() {
  // Of bytes 0xff a float is NaN, and an index far outside.
  std::memset(shared_.get(), 0xff, kSharedBytes);
  for (Fiber& fiber : fibers_) {
    fiber.wait = Wait::kNothing;
    fiber.has_shared = false;
    fiber.exchanges = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Block::start, 0);
  }
}

size_t Block::choose(size_t count) {
  if (order_ == Order::kShuffled) return size_t(random_.integer(0, int64_t(count) - 1));
  return order_ == Order::kAscending ? 0 : count - 1;
}

void Block::resume(int thread) {
  thread_ = thread;
  swapcontext(&scheduler_, &fibers_[size_t(thread)].context);
}

// Runs those threads of a warp that can. Returns whether they met in an operation of the warp and can go on.
bool Block::advance_warp(int first) {
  std::vector<int> ready;
  for (int i = first; i < first + kWarp; ++i) {
    if (fibers_[size_t(i)].wait == Wait::kNothing) ready.push_back(i);
  }
  while (!ready.empty()) {
    const size_t chosen = choose(ready.size());
    resume(ready[chosen]);
    ready.erase(ready.begin() + std::ptrdiff_t(chosen));
  }
  check_together(first, first + kWarp, 1);
  return release(first, kWarp, Wait::kWarp);
}

// Warps need not keep step: in both orders that are not shuffled each runs as far as it can before another.
void Block::run(int64_t index) {
  index_ = index;
  prepare();
  do {
    std::vector<int> warps;
    for (int first = 0; first < threads(); first += kWarp) warps.push_back(first);
    while (!warps.empty()) {
      const size_t chosen = choose(warps.size());
      if (!advance_warp(warps[chosen])) warps.erase(warps.begin() + std::ptrdiff_t(chosen));
    }
    check_together(0, threads(), kWarp);
  } while (release(0, threads(), Wait::kBlock));
}

void Block::meet(Wait wait, Site site) {
  Fiber& fiber = fibers_[size_t(thread_)];
  fiber.wait = wait;
  fiber.site = site;
  swapcontext(&fiber.context, &scheduler_);
}

const char* Block::exchange(Site site, const void* value, size_t bytes, int from) {
  if (bytes > kExchangeBytes) throw std::logic_error("an exchange of more bytes than there is room for");
  Fiber& fiber = fibers_[size_t(thread_)];
  const int side = fiber.exchanges++ % 2;
  std::memcpy(fiber.offered[side], value, bytes);
  const int lane_0 = thread_ / kWarp * kWarp;
  meet(Wait::kWarp, site);
  return fibers_[size_t(lane_0 + from)].offered[side];
}

bool Block::any_in_warp(Site site, bool condition) {
  const int lane_0 = thread_ / kWarp * kWarp;
  const int side = fibers_[size_t(thread_)].exchanges % 2;
  exchange(site, &condition, sizeof(condition), 0);
  bool any = false;
  for (int i = lane_0; i < lane_0 + kWarp; ++i) any = any || fibers_[size_t(i)].offered[side][0] != 0;
  return any;
}

void* Block::shared(size_t bytes) {
  Fiber& fiber = fibers_[size_t(thread_)];
  if (bytes > kSharedBytes || fiber.has_shared) throw std::logic_error("a kernel shares one piece of memory");
  fiber.has_shared = true;
  return shared_.get();
}

// Threads first, first + step, ... have stopped; apart from each other they would wait for ever.
void Block::check_together(int first, int end, int step) const {
  const Fiber& one = fibers_[size_t(first)];
  const auto describe = [](int thread, const Fiber& fiber) {
    return "thread " + std::to_string(thread) + " is " + name(fiber.wait) + " (" + fiber.site.file + ":" +
           std::to_string(fiber.site.line) + ")";
  };
  for (int i = first + step; i < end; i += step) {
    const Fiber& other = fibers_[size_t(i)];
    if (other.is_with(one)) continue;
    throw std::runtime_error("threads went apart: " + describe(first, one) + ", " + describe(i, other));
  }
}

bool Block::release(int first, int count, Wait wait) {
  if (fibers_[size_t(first)].wait != wait) return false;
  for (int i = first; i < first + count; ++i) fibers_[size_t(i)].wait = Wait::kNothing;
  return true;
}

}  // namespace

void run_grid(int64_t blocks, int threads, Order order, const std::function<void()>& body) {
  if (threads % kWarp != 0) throw std::logic_error("a block is a number of whole warps");
  Block block(threads, order, body);
  for (int64_t i = 0; i < blocks; ++i) block.run(i);
}

int thread_index() { return Block::current->thread(); }
int64_t block_index() { return Block::current->index(); }
void* shared(size_t bytes) { return Block::current->shared(bytes); }
void sync_block(Site site) { Block::current->meet(Wait::kBlock, site); }
void sync_warp(Site site) { Block::current->meet(Wait::kWarp, site); }

const void* exchange(Site site, const void* value, size_t bytes, int from) {
  return Block::current->exchange(site, value, bytes, from);
}

bool any_in_warp(Site site, bool condition) { return Block::current->any_in_warp(site, condition); }

}  // namespace fibers
}  // namespace pararnn
