#pragma once

// Included before any use of nlohmann's JSON, in foreign sources too (cmake/dependencies.cmake).
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <thread>
#include <type_traits>

// Destroying a tree of JSON takes memory: the library moves the children to a std::vector lest deep trees need a deep
// stack. A destructor cannot fail, so a lack of memory there would end the process. So would it where a null becomes an
// object or a list, as in `out["key"] = ...`: it is called one before there is memory for it, and cannot be destroyed.
// These allocators therefore wait for memory a while before they throw.
namespace gale {

template <class T>
class JsonAllocator {
 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_move_assignment = std::true_type;
  using is_always_equal = std::true_type;

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > std::size_t(-1) / 2 / sizeof(T)) throw std::bad_array_new_length();
    constexpr int kNumTries = 1000;
    constexpr std::chrono::milliseconds kPause{10};
    for (int i = 0; i < kNumTries; ++i) {
      void* const memory = ::operator new(count * sizeof(T), std::nothrow);
      if (memory != nullptr) return static_cast<T*>(memory);
      std::this_thread::sleep_for(kPause);
    }
    throw std::bad_alloc();
  }
  void deallocate(T* memory, std::size_t) noexcept { ::operator delete(memory); }

  friend bool operator==(const JsonAllocator&, const JsonAllocator&) noexcept { return true; }
};

}  // namespace gale

// Implicit constructors, as all allocators convert.
template <>
class std::allocator<nlohmann::ordered_json> : public gale::JsonAllocator<nlohmann::ordered_json> {
 public:
  allocator() noexcept = default;
  template <class U>
  allocator(const allocator<U>&) noexcept {}
};
template <>
class std::allocator<nlohmann::ordered_json::array_t> : public gale::JsonAllocator<nlohmann::ordered_json::array_t> {
 public:
  allocator() noexcept = default;
  template <class U>
  allocator(const allocator<U>&) noexcept {}
};
template <>
class std::allocator<nlohmann::ordered_json::object_t> : public gale::JsonAllocator<nlohmann::ordered_json::object_t> {
 public:
  allocator() noexcept = default;
  template <class U>
  allocator(const allocator<U>&) noexcept {}
};
