#pragma once

// Included before any use of nlohmann's JSON, in foreign sources too (cmake/dependencies.cmake).
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <thread>
#include <type_traits>

// Destroying a tree of JSON takes memory: the library moves the children to a std::vector, so that deep trees need no
// deep stack. A destructor cannot fail, so a lack of memory there would end the process. Vectors of JSON therefore wait
// for memory a while before they throw.
template <>
class std::allocator<nlohmann::ordered_json> {
 public:
  using value_type = nlohmann::ordered_json;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_move_assignment = std::true_type;
  using is_always_equal = std::true_type;

  allocator() noexcept = default;
  template <class U>
  allocator(const allocator<U>&) noexcept {}   // implicit, as all allocators convert

  [[nodiscard]] value_type* allocate(std::size_t count) {
    if (count > std::size_t(-1) / 2 / sizeof(value_type)) throw std::bad_array_new_length();
    constexpr int kNumTries = 1000;
    constexpr std::chrono::milliseconds kPause{10};
    for (int i = 0; i < kNumTries; ++i) {
      void* const memory = ::operator new(count * sizeof(value_type), std::nothrow);
      if (memory != nullptr) return static_cast<value_type*>(memory);
      std::this_thread::sleep_for(kPause);
    }
    throw std::bad_alloc();
  }
  void deallocate(value_type* memory, std::size_t) noexcept { ::operator delete(memory); }

  friend bool operator==(const allocator&, const allocator&) noexcept { return true; }
};
