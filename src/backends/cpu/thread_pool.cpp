#include "backends/cpu/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace gale {
namespace {

// About 50 microseconds: longer than the serial stretches between the loops of a step, shorter than anybody minds.
constexpr int kSpins = 2000;
// Spins between two looks at the time, about 2 microseconds; and how long they take at least if the core was lost.
constexpr int kSpinsBetweenLooks = 64;
constexpr std::chrono::microseconds kLostCore{200};
// A few steps of a small model: then spinning is tried again.
constexpr int kCrowdedLoops = 512;
// On a crowded machine a loop of fewer pieces is not worth waking a sleeping thread.
constexpr int64_t kPiecesWorthWaking = 64;

// Tells the core that this is a spin loop.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

enum class Spun { kDone, kLongEnough, kLostCore };

// Spins until is_done() or until that took long enough. A stretch of spins that took a hundred times as long as it
// should means that something else ran on this core: more threads want to run than there are cores.
template <class IsDone>
Spun spin_until(IsDone is_done) {
  using SteadyClock = std::chrono::steady_clock;
  SteadyClock::time_point last = SteadyClock::now();
  for (int spins = 1; spins <= kSpins; ++spins) {
    const bool done = is_done();
    if (done || spins % kSpinsBetweenLooks == 0) {
      const SteadyClock::time_point now = SteadyClock::now();
      if (now - last > kLostCore) return Spun::kLostCore;
      last = now;
    }
    if (done) return Spun::kDone;
    relax();
  }
  return Spun::kLongEnough;
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  CHECK(num_threads >= 1, "{} threads", num_threads);
  try {
    for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { worker_main(); });
  } catch (...) {   // those that began are joined, and have to hear of it
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  is_stopping_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
}

void ThreadPool::run(int64_t num_items, int64_t grain, Call call, void* context) {
  const std::unique_lock<std::mutex> lock(caller_, std::try_to_lock);
  if (!lock.owns_lock()) return call(context, 0, num_items);
  if (const int left = crowded_loops_.load(std::memory_order_relaxed); left > 0) {
    crowded_loops_.store(left - 1, std::memory_order_relaxed);   // a worker's store may be lost: it will say it again
    if (num_items <= kPiecesWorthWaking * grain) return call(context, 0, num_items);
  }
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
  wait_for_workers();
}

void ThreadPool::wait_for_workers() {
  const auto are_out = [this] { return (state_.load(std::memory_order_acquire) & kInside) == 0; };
  const Spun spun = spin_until(are_out);
  if (spun == Spun::kLostCore) crowded_loops_.store(kCrowdedLoops, std::memory_order_relaxed);
  for (uint64_t state = state_.load(std::memory_order_acquire); (state & kInside) != 0;
       state = state_.load(std::memory_order_acquire)) {
    state_.wait(state, std::memory_order_acquire);          // one may have lost its core: let it have this one
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
  if (crowded_loops_.load(std::memory_order_relaxed) == 0) {
    uint64_t state = 0;
    const Spun spun = spin_until([&] {
      state = state_.load(std::memory_order_acquire);
      return is_news(state) || is_stopping_.load(std::memory_order_relaxed);
    });
    if (spun == Spun::kLostCore) crowded_loops_.store(kCrowdedLoops, std::memory_order_relaxed);
    if (spun == Spun::kDone) return state;
  }
  num_sleeping_.fetch_add(1);
  const uint32_t seen = wake_.load();
  uint64_t state = state_.load();   // a loop opened before we were counted is seen here
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
    const uint64_t before = state_.fetch_sub(1, std::memory_order_release);
    if ((before & (kOpen | kInside)) == 1) state_.notify_one();   // the last one out: the caller may sleep on it
  }
}

}  // namespace gale
