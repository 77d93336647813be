#include "base/fault_point.h"

#ifdef GALE_FAULT_POINTS

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace gale {
namespace {

constexpr size_t kMaxPoints = 63;

// A row of the file: a point that has been passed. tests/faults/fault_file.py knows this layout.
struct Point {
  std::array<char, 40> name;
  std::atomic<uint32_t> is_taken;      // 0: free, 1: being written, 2: holds a name
  std::atomic<uint32_t> num_faults;
  std::atomic<uint64_t> num_passes;
  uint64_t unused;
};
struct FaultFile {
  std::atomic<uint64_t> num_passes;    // since the test set it to 0
  std::atomic<uint64_t> fails_at;      // the pass that fails; 0: none
  std::array<char, 48> only;           // if not empty: only points of this name count
  std::array<Point, kMaxPoints> points;
};
static_assert(sizeof(Point) == 64 && sizeof(FaultFile) == 4096 && std::atomic<uint64_t>::is_always_lock_free);

FaultFile* open_file() {
  const char* path = std::getenv("GALE_FAULT_FILE");
  if (path == nullptr) return nullptr;
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* data = ::mmap(nullptr, sizeof(FaultFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return data == MAP_FAILED ? nullptr : static_cast<FaultFile*>(data);
}

// Processes may die at any moment: nothing here waits for another for long.
Point* find(FaultFile& file, const char* name) {
  for (Point& point : file.points) {
    uint32_t free = 0;
    if (point.is_taken.compare_exchange_strong(free, 1)) {
      std::strncpy(point.name.data(), name, point.name.size() - 1);
      point.is_taken = 2;
    }
    for (int i = 0; point.is_taken != 2 && i < 1000; ++i) ::usleep(1);
    if (std::strncmp(point.name.data(), name, point.name.size() - 1) == 0) return &point;
  }
  return nullptr;
}

FaultFile* fault_file() {
  static FaultFile* const file = open_file();
  return file;
}

bool fails_at(FaultFile& file, Point& point, const char* name);

}  // namespace

bool fault_happens(const char* name) {
  FaultFile* const file = fault_file();
  if (file == nullptr) return false;
  Point* point = find(*file, name);
  return point != nullptr && fails_at(*file, *point, name);
}

uint64_t num_faults_injected() {
  uint64_t num_faults = 0;
  if (FaultFile* const file = fault_file()) {
    for (const Point& point : file->points) num_faults += point.num_faults;
  }
  return num_faults;
}

namespace {

bool fails_at(FaultFile& file, Point& point, const char* name) {
  ++point.num_passes;
  if (file.only[0] != '\0' && std::strncmp(file.only.data(), name, file.only.size()) != 0) return false;
  if (++file.num_passes != file.fails_at) return false;
  ++point.num_faults;
  return true;
}

// ---- every allocation ----------------------------------------------------------------------------------------------

// The allocations of this process: memory.serve, memory.engine, …, by the command it runs.
std::array<char, 40> memory_point() {
  std::array<char, 40> name{"memory."};
  std::array<char, 4096> line{};
  const int fd = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? 0 : ::read(fd, line.data(), line.size() - 1);
  if (fd >= 0) ::close(fd);
  const size_t program = std::strlen(line.data()) + 1;
  if (static_cast<ssize_t>(program) < length) std::strncat(name.data(), line.data() + program, name.size() - 8);
  return name;
}

std::atomic<bool> may_allocations_fail = false;

// Only tests that name the point of this process pay for more than a look.
bool allocation_fails() {
  FaultFile* const file = may_allocations_fail ? fault_file() : nullptr;
  if (file == nullptr || file->fails_at == 0 || std::strncmp(file->only.data(), "memory.", 7) != 0) return false;
  static const std::array<char, 40> name = memory_point();
  static Point* const point = find(*file, name.data());
  return point != nullptr && fails_at(*file, *point, name.data());
}

void* allocate(size_t size, size_t alignment) {
  if (allocation_fails()) return nullptr;
  const size_t wanted = size == 0 ? 1 : size;
  if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return std::malloc(wanted);
  return std::aligned_alloc(alignment, (wanted + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(size_t size, size_t alignment) {
  void* memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void let_allocations_fail() { may_allocations_fail = true; }

}  // namespace gale

// The standard library's other forms end in these.
void* operator new(size_t size) { return gale::allocate_or_throw(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return gale::allocate_or_throw(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return gale::allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return gale::allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

#endif
