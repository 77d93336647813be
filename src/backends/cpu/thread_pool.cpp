#include "backends/cpu/thread_pool.h"

#include <algorithm>

#include "base/check.h"

namespace gale {
namespace {

// About 50 microseconds: longer than the serial stretches between the loops of a step, shorter than anybody minds.
constexpr int kSpins = 2000;

// Tells the core that this is a spin loop.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  CHECK(num_threads >= 1, "{} threads", num_threads);
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { worker_main(); });
}

ThreadPool::~ThreadPool() {
  is_stopping_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
}

void ThreadPool::run(int64_t num_items, int64_t grain, Call call, void* context) {
  const std::unique_lock<std::mutex> lock(caller_, std::try_to_lock);
  if (!lock.owns_lock()) return call(context, 0, num_items);
  loop_ = {.call = call, .context = context, .num_items = num_items, .grain = grain};
  next_item_.store(0, std::memory_order_relaxed);
  const uint64_t number = (state_.load(std::memory_order_relaxed) >> 32) + 1;
  state_.store(number << 32 | kOpen);                       // seq_cst: ordered with the look at num_sleeping_
  if (num_sleeping_.load() > 0) {
    wake_.fetch_add(1);
    wake_.notify_all();
  }
  work();
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
    spins < kSpins ? relax() : std::this_thread::yield();   // a worker inside may have lost its core
  }
}

void ThreadPool::work() {
  for (;;) {
    const int64_t begin = next_item_.fetch_add(loop_.grain, std::memory_order_relaxed);
    if (begin >= loop_.num_items) return;
    loop_.call(loop_.context, begin, std::min(begin + loop_.grain, loop_.num_items));
  }
}

bool ThreadPool::join(uint64_t state) {
  while ((state & kOpen) != 0) {
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

uint64_t ThreadPool::wait_for_loop(uint64_t last_seen) {
  const auto is_news = [last_seen](uint64_t state) { return (state >> 32) != last_seen && (state & kOpen) != 0; };
  for (int spins = 0; spins < kSpins; ++spins) {
    const uint64_t state = state_.load(std::memory_order_acquire);
    if (is_news(state) || is_stopping_.load(std::memory_order_relaxed)) return state;
    relax();
  }
  num_sleeping_.fetch_add(1);
  const uint32_t seen = wake_.load();
  uint64_t state = state_.load();                           // a loop opened before we were counted is seen here
  if (!is_news(state) && !is_stopping_.load()) {
    wake_.wait(seen);
    state = state_.load();
  }
  num_sleeping_.fetch_sub(1);
  return state;
}

void ThreadPool::worker_main() {
  uint64_t last_seen = 0;
  while (!is_stopping_.load(std::memory_order_relaxed)) {
    const uint64_t state = wait_for_loop(last_seen);
    if (!join(state)) continue;
    last_seen = state_.load(std::memory_order_relaxed) >> 32;   // cannot change while we are inside
    work();
    state_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace gale
