#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/block.cuh"
#include "races.h"
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

// Not a call of memcpy, of which ThreadSanitizer would know: how values get from lane to lane is no race.
void copy(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) static_cast<volatile char*>(to)[i] = static_cast<const char*>(from)[i];
}

bool same(Site one, Site other) { return one.line == other.line && std::strcmp(one.file, other.file) == 0; }

// What fibers run on, one after the other. A stack that had more than one thread would look like a race.
struct Carrier {
  races::Thread thread = races::begin();
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
};

// Those that nobody uses. Beginning a thread takes ThreadSanitizer longer than running most blocks.
std::vector<std::unique_ptr<Carrier>> idle;

struct Fiber {
  bool is_with(const Fiber& other) const { return wait == other.wait && same(site, other.site); }

  ucontext_t context;
  Carrier* carrier = nullptr;
  Wait wait = Wait::kNothing;
  Site site{"", 0};
  bool has_shared = false;
  // How often it met its block and its warp, and how many exchanges that was. Each takes turns between two
  // places: a thread may be at the next meeting while others still leave this one, but not further.
  int barriers = 0;
  int warp_barriers = 0;
  int exchanges = 0;
  alignas(16) char offered[2][kExchangeBytes];
  bool votes[2];  // at barriers
};

// Two points, taken in turn, that order memory.
struct Meeting {
  char points[2];
};

class Block {
 public:
  Block(int threads, Order order, const std::function<void()>& body)
      : fibers_(size_t(threads)),
        meetings_(size_t(threads / kWarp)),
        order_(order),
        scheduler_thread_(races::current()),
        body_(body) {
    current = this;
    while (idle.size() < fibers_.size()) idle.push_back(std::make_unique<Carrier>());
    carriers_.swap(idle);
  }
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  static Block* current;

  void run(int64_t index);
  void meet(Wait wait, Site site);
  void sync_block(Site site);
  bool any(Site site, bool condition);
  void sync_warp(Site site);
  void exchange(Site site, const void* value, size_t bytes);
  const char* offered_by(int lane) const;
  void* shared(size_t bytes);

  int thread() const { return thread_; }
  int64_t index() const { return index_; }

 private:
  static void start();

  int threads() const { return int(fibers_.size()); }
  Fiber& fiber() { return fibers_[size_t(thread_)]; }
  size_t warp() const { return size_t(thread_ / kWarp); }
  void prepare();
  size_t choose(size_t count);
  bool advance_warp(int first);
  void resume(int thread);
  bool release(int first, int count, Wait wait);
  void check_together(int first, int end, int step) const;

  std::vector<Fiber> fibers_;
  std::vector<std::unique_ptr<Carrier>> carriers_;
  std::unique_ptr<FreshMemory> shared_;
  Meeting block_meeting_;
  std::vector<Meeting> meetings_;  // of each warp
  char begin_ = 0, end_ = 0;
  Order order_;
  Random random_{17};
  races::Thread scheduler_thread_;
  const std::function<void()>& body_;
  ucontext_t scheduler_;
  int thread_ = 0;
  int64_t index_ = 0;
};

Block* Block::current = nullptr;

// The scheduler sees what all blocks did; no block sees what another did.
Block::~Block() {
  races::acquire(&end_);
  for (Fiber& fiber : fibers_) {
    // It never ends: its thread is somewhere in the middle.
    if (fiber.carrier != nullptr && fiber.wait != Wait::kFinished) {
      races::end(fiber.carrier->thread);
      *fiber.carrier = Carrier();
    }
  }
  carriers_.swap(idle);
  current = nullptr;
}

void Block::start() {
  races::acquire(&current->begin_);
  current->body_();
  current->meet(Wait::kFinished, {"", 0});
}

void Block::prepare() {
  shared_ = std::make_unique<FreshMemory>(kSharedBytes);
  // Of bytes 0xff a float is NaN, and an index far outside.
  std::memset(shared_->data(), 0xff, kSharedBytes);
  races::release(&begin_);
  // No thread goes on where one of the same index was in the block before: that would order the two.
  size_t next = size_t(index_);
  for (Fiber& fiber : fibers_) {
    fiber.carrier = carriers_[next++ % fibers_.size()].get();
    fiber.wait = Wait::kNothing;
    fiber.has_shared = false;
    fiber.barriers = fiber.warp_barriers = fiber.exchanges = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.carrier->stack.get();
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
  races::switch_to(fiber().carrier->thread);
  swapcontext(&scheduler_, &fiber().context);
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
  Fiber& own = fiber();
  own.wait = wait;
  own.site = site;
  races::release(&end_);
  races::switch_to(scheduler_thread_);
  swapcontext(&own.context, &scheduler_);
}

void Block::sync_block(Site site) {
  char* const point = &block_meeting_.points[fiber().barriers++ % 2];
  races::release(point);
  meet(Wait::kBlock, site);
  races::acquire(point);
}

// What a vote orders is what a barrier does.
bool Block::any(Site site, bool condition) {
  const int turn = fiber().barriers % 2;
  fiber().votes[turn] = condition;
  sync_block(site);
  bool any = false;
  for (const Fiber& one : fibers_) any = any || one.votes[turn];
  return any;
}

void Block::sync_warp(Site site) {
  char* const point = &meetings_[warp()].points[fiber().warp_barriers++ % 2];
  races::release(point);
  meet(Wait::kWarp, site);
  races::acquire(point);
}

// Orders no memory: a shuffle does not.
void Block::exchange(Site site, const void* value, size_t bytes) {
  if (bytes > kExchangeBytes) throw std::logic_error("an exchange of more bytes than there is room for");
  copy(fiber().offered[fiber().exchanges++ % 2], value, bytes);
  meet(Wait::kWarp, site);
}

const char* Block::offered_by(int lane) const {
  const Fiber& own = fibers_[size_t(thread_)];
  return fibers_[warp() * kWarp + size_t(lane)].offered[(own.exchanges - 1) % 2];
}

void* Block::shared(size_t bytes) {
  if (bytes > kSharedBytes || fiber().has_shared)
    throw std::logic_error("a kernel shares one piece of memory");
  fiber().has_shared = true;
  return shared_->data();
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
  const int64_t races_before = races::count();
  {
    Block block(threads, order, body);
    for (int64_t i = 0; i < blocks; ++i) block.run(i);
  }
  if (races::count() != races_before) throw std::runtime_error("threads race for memory, as reported above");
}

int thread_index() { return Block::current->thread(); }
int64_t block_index() { return Block::current->index(); }
void* shared(size_t bytes) { return Block::current->shared(bytes); }
void sync_block(Site site) { Block::current->sync_block(site); }
bool any_in_block(Site site, bool condition) { return Block::current->any(site, condition); }
void sync_warp(Site site) { Block::current->sync_warp(site); }

void exchange(Site site, const void* value, void* out, size_t bytes, int from) {
  Block::current->exchange(site, value, bytes);
  copy(out, Block::current->offered_by(from), bytes);
}

void gather(Site site, const void* value, void* out, size_t bytes) {
  Block::current->exchange(site, value, bytes);
  for (int lane = 0; lane < kWarp; ++lane)
    copy(static_cast<char*>(out) + size_t(lane) * bytes, Block::current->offered_by(lane), bytes);
}

bool any_in_warp(Site site, bool condition) {
  Block::current->exchange(site, &condition, sizeof(condition));
  bool any = false;
  for (int lane = 0; lane < kWarp; ++lane) any = any || *Block::current->offered_by(lane) != 0;
  return any;
}

}  // namespace fibers
}  // namespace pararnn
