#pragma once

#include <array>
#include <boost/asio/bind_allocator.hpp>
#include <cstddef>
#include <new>
#include <utility>

// Internal to net.
namespace gale {

// Memory for one asynchronous call: where only one is under way at a time, beginning it cannot fail. What does not fit
// or comes beside it is allocated as usual. Outlives the call; not thread-safe.
class CallMemory {
 public:
  CallMemory() = default;
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;

  [[nodiscard]] void* take(size_t num_bytes) {
    if (is_taken_ || num_bytes > block_.size()) return ::operator new(num_bytes);
    is_taken_ = true;
    return block_.data();
  }
  void give_back(void* memory) noexcept {
    if (memory == block_.data()) is_taken_ = false;
    else ::operator delete(memory);
  }

 private:
  static constexpr size_t kNumBytes = 384;   // what Asio adds to a handler of three pointers, with room to spare
  alignas(std::max_align_t) std::array<std::byte, kNumBytes> block_;
  bool is_taken_ = false;
};

// The standard's allocator over it, as Asio wants it.
template <class T>
class CallAllocator {
 public:
  using value_type = T;
  explicit CallAllocator(CallMemory& memory) : memory_(&memory) {}
  template <class U>
  CallAllocator(const CallAllocator<U>& other) : memory_(&other.memory()) {}   // implicit: allocators convert

  [[nodiscard]] T* allocate(size_t count) { return static_cast<T*>(memory_->take(count * sizeof(T))); }
  void deallocate(T* memory, size_t) noexcept { memory_->give_back(memory); }
  [[nodiscard]] CallMemory& memory() const { return *memory_; }
  bool operator==(const CallAllocator&) const = default;

 private:
  CallMemory* memory_;
};

// The handler, whose call is kept in `memory`.
template <class Handler>
[[nodiscard]] auto in_memory(CallMemory& memory, Handler handler) {
  return boost::asio::bind_allocator(CallAllocator<std::byte>(memory), std::move(handler));
}

}  // namespace gale
