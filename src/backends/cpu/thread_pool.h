#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace gale {

// Runs loops of independent items on a few threads, the caller's among them. A step makes a hundred small loops, so
// workers spin for a moment before they sleep, starting a loop allocates nothing, and the caller never waits for a
// worker that has not begun. Which thread runs which item differs from run to run: items must not depend on one
// another. A thread that loses its core while it spins tells that the machine is crowded: for a while nobody spins
// then, and the caller runs small loops alone instead of waking somebody who would have to wait for a core.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);   // the caller counted in; at least 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // body(begin, end) for pieces of at most `grain` items that together cover 0 … num_items - 1, each once. Runs on the
  // caller alone if one piece is all, or if another thread is using the pool. Returns when all is done.
  template <class Body>
  void parallel_for(int64_t num_items, int64_t grain, Body&& body) {
    if (num_items <= 0) return;
    if (num_items <= grain || workers_.empty()) return body(int64_t{0}, num_items);
    const auto call = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
    };
    run(num_items, grain, call, const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* context, int64_t begin, int64_t end);
  struct Loop {
    Call call = nullptr;
    void* context = nullptr;
    int64_t num_items = 0;
    int64_t grain = 1;
  };

  void run(int64_t num_items, int64_t grain, Call call, void* context);
  void stop();
  void wait_for_workers();             // until none is inside
  void work();                         // takes pieces of the loop until none is left
  void worker_main();
  [[nodiscard]] bool join(uint64_t state);
  [[nodiscard]] uint64_t wait_for_loop(uint64_t last_seen);

  // The loop that is open, if any: number of the loop << 32 | kOpen | workers inside. A worker may touch `loop_` only
  // while it is counted here, and the caller changes `loop_` only when it is closed and nobody is.
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int64_t> next_item_{0};
  alignas(64) Loop loop_;
  std::atomic<uint32_t> wake_{0};      // workers sleep on it
  std::atomic<int> num_sleeping_{0};
  std::atomic<int> crowded_loops_{0};  // so many loops more are run as on a crowded machine
  std::atomic<bool> is_stopping_{false};
  std::mutex caller_;                  // held by the thread whose loop it is
  std::vector<std::jthread> workers_;
};

}  // namespace gale
