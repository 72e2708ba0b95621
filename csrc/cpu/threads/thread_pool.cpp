#include "cpu/threads/thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/simd/float_mode.h"
#include "cpu/threads/topology.h"

namespace pararnn {
namespace {

// Longer than the gap between two kernels of a decode step.
constexpr std::chrono::microseconds kIdleSpin(100);

// Looks of a waiting caller before it sleeps: some 50 us, longer than threads of an idle machine are apart.
constexpr int kCallerLooks = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A call's items, claimed one by one. The ticket holds the call's number and the items left in one word: a
// worker that comes late cannot claim from the next call, and who has claimed knows that the call has not
// returned.
class Job {
 public:
  void open(int64_t items, Task task, const void* context) {
    task_ = task;
    context_ = context;
    items_ = items;
    done_.store(0);
    call_ = (call_ + 1) & kCountMask;
    ticket_.store(call_ << kCountBits | uint64_t(items));
  }

  uint64_t call() const { return ticket_.load() >> kCountBits; }

  void work(uint64_t call) {
    int64_t finished = 0, items = 0;
    for (uint64_t left = claim(call); left != 0; left = claim(call)) {
      items = items_;
      task_(context_, items - int64_t(left));
      ++finished;
    }
    // From here on the call may return and the next one begin: only copies may be looked at.
    if (finished == 0 || done_.fetch_add(finished) + finished != items || !asleep_.load()) return;
    // Under the lock, so that a caller about to sleep sees the last item done or gets the signal.
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    all_done_.notify_one();
  }

  // A thread that has an item may have lost its core to another program. A caller that spun on would keep the
  // core to which the system can move it.
  void wait() {
    for (int looks = 0; looks < kCallerLooks; ++looks) {
      if (done_.load() == items_) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    asleep_.store(true);
    all_done_.wait(lock, [&] { return done_.load() == items_; });
    asleep_.store(false);
  }

 private:
  static constexpr int kCountBits = 32;
  static constexpr uint64_t kCountMask = 0xffffffffu;

  uint64_t claim(uint64_t call) {
    uint64_t ticket = ticket_.load();
    while (ticket >> kCountBits == call && (ticket & kCountMask) != 0) {
      if (ticket_.compare_exchange_weak(ticket, ticket - 1)) return ticket & kCountMask;
    }
    return 0;
  }

  Task task_ = nullptr;
  const void* context_ = nullptr;
  int64_t items_ = 0;
  uint64_t call_ = 0;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> done_{0};
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable all_done_;
};

class ThreadPool {
 public:
  // Fewer threads than asked for where the system has no more.
  explicit ThreadPool(int64_t threads) {
    workers_.reserve(size_t(threads - 1));
    try {
      while (this->threads() < threads) workers_.emplace_back([this] { serve(); });
    } catch (const std::exception&) {
      // An exception that left here would end the process: nobody would join the workers that run already.
      return;
    }
  }

  ~ThreadPool() {
    {
      const std::lock_guard<std::mutex> lock(sleep_mutex_);
      stopping_.store(true);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // The caller's included.
  int64_t threads() const { return int64_t(workers_.size()) + 1; }

  void run(int64_t items, Task task, const void* context) {
    job_.open(items, task, context);
    if (sleepers_.load() > 0) {
      // Under the lock, so that a worker about to sleep sees the new call or gets the signal.
      {
        const std::lock_guard<std::mutex> lock(sleep_mutex_);
      }
      wake_.notify_all();
    }
    job_.work(job_.call());
    job_.wait();
  }

 private:
  bool has_news(uint64_t seen) const { return stopping_.load() || job_.call() != seen; }

  void wait_after(uint64_t seen) {
    constexpr int kLooksPerClock = 32;
    const auto end = std::chrono::steady_clock::now() + kIdleSpin;
    do {
      for (int i = 0; i < kLooksPerClock; ++i) {
        if (has_news(seen)) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [&] { return has_news(seen); });
    sleepers_.fetch_sub(1);
  }

  void serve() {
    const FloatMode mode;
    uint64_t call = 0;
    for (;;) {
      wait_after(call);
      if (stopping_.load()) return;
      call = job_.call();
      job_.work(call);
    }
  }

  Job job_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleepers_{0};
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;  // last: a worker starts when all else stands
};

// The process's pool, made at the first call that needs it. After fork the child has no workers: it forgets
// them.
struct SharedPool {
  std::mutex mutex;
  ThreadPool* pool = nullptr;
  std::atomic<int64_t> threads{usable_cores()};  // written under the mutex, read by anybody

  SharedPool() {
    pthread_atfork([] { shared().mutex.lock(); }, [] { shared().mutex.unlock(); },
                   [] {
                     shared().pool = nullptr;
                     shared().mutex.unlock();
                   });
  }

  static SharedPool& shared() {
    static SharedPool* const instance = new SharedPool;  // never destroyed: threads may outlive main
    return *instance;
  }
};

void run_alone(int64_t items, Task task, const void* context) {
  for (int64_t item = 0; item < items; ++item) task(context, item);
}

}  // namespace

void parallel_for(int64_t items, Task task, const void* context) {
  const FloatMode mode;
  SharedPool& shared = SharedPool::shared();
  const std::unique_lock<std::mutex> lock(shared.mutex, std::try_to_lock);
  if (!lock.owns_lock() || items < 2 || shared.threads == 1) return run_alone(items, task, context);
  if (shared.pool == nullptr) {
    shared.pool = new ThreadPool(shared.threads);
    shared.threads = shared.pool->threads();
  }
  shared.pool->run(items, task, context);
}

int64_t num_threads() { return SharedPool::shared().threads; }

void set_num_threads(int64_t count) {
  SharedPool& shared = SharedPool::shared();
  const std::lock_guard<std::mutex> lock(shared.mutex);
  if (count == shared.threads) return;
  delete shared.pool;
  shared.pool = nullptr;
  shared.threads = count;
}

}  // namespace pararnn
