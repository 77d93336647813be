#pragma once

// Named places where a test build lets something fail: a write, an allocation, a fork. Files that have them are listed
// in cmake/fault_points.cmake; without GALE_FAULT_POINTS, as in every program that people get, the places are nothing.
#ifdef GALE_FAULT_POINTS

#include <cstdint>
#include <new>

namespace gale {

// Counts the passes of all processes in the file that GALE_FAULT_FILE names (tests/faults/fault_file.py).
// True in the one pass that the test asked for.
[[nodiscard]] bool fault_happens(const char* point);
// Of all processes so far.
[[nodiscard]] uint64_t num_faults_injected();

// Allocations count from here on: those of libraries before main cannot be answered for.
void let_allocations_fail();

inline void may_run_out_of_memory(const char* point) {
  if (fault_happens(point)) throw std::bad_alloc();
}

}  // namespace gale

#else

#include <cstdint>

namespace gale {

[[nodiscard]] constexpr uint64_t num_faults_injected() { return 0; }
[[nodiscard]] constexpr bool fault_happens(const char*) { return false; }
constexpr void may_run_out_of_memory(const char*) {}
constexpr void let_allocations_fail() {}

}  // namespace gale

#endif
