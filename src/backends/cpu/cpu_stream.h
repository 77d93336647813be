#pragma once

#include "backends/cpu/thread_pool.h"
#include "tensor/host_memory.h"

namespace gale {

// The CPU's stream: work is done when the call returns; ops reach the device's threads through it.
class CpuStream final : public SynchronousStream {
 public:
  explicit CpuStream(ThreadPool& pool) : pool_(pool) {}
  [[nodiscard]] ThreadPool& pool() { return pool_; }

 private:
  ThreadPool& pool_;
};

// Every stream that reaches a CPU op was made by the CPU device.
[[nodiscard]] inline ThreadPool& pool_of(Stream& stream) { return static_cast<CpuStream&>(stream).pool(); }

// Below this many multiplications and the like a loop is not worth sharing out.
inline constexpr int64_t kWorthSharing = 16384;

// Items a piece must have so that it is worth a thread's trip.
[[nodiscard]] inline int64_t grain_for(int64_t cost_of_item) {
  return cost_of_item >= kWorthSharing ? 1 : (kWorthSharing + cost_of_item - 1) / (cost_of_item < 1 ? 1 : cost_of_item);
}

// body(row) for each of num_rows independent rows, each costing about `cost` multiplications.
template <class Body>
void for_each_row(Stream& stream, int64_t num_rows, int64_t cost, Body&& body) {
  pool_of(stream).parallel_for(num_rows, grain_for(cost), [&body](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace gale
