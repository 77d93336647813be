#include "base/fault_point.h"

#ifdef GALE_FAULT_POINTS

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

extern "C" const char __executable_start, etext;    // the linker's: where the code of this program lies

namespace gale {
namespace {

constexpr size_t kMaxPoints = 63;
constexpr size_t kMaxPaths = 1 << 18;
constexpr size_t kMaxCalls = 64;
constexpr uint64_t kFirstOfNewPath = ~uint64_t{0};

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
  std::atomic<uint64_t> fails_at;      // the pass that fails; 0: none; kFirstOfNewPath becomes the number of that pass
  std::array<char, 48> only;           // if not empty: only points of this name count
  std::array<Point, kMaxPoints> points;
  std::array<std::atomic<uint64_t>, kMaxPaths> paths;    // a hash table of the call paths that failed so far
  std::array<uint64_t, kMaxCalls> calls;                 // of the program that led to the last failure; 0: their end
};
static_assert(sizeof(Point) == 64 && offsetof(FaultFile, paths) == 4096 && std::atomic<uint64_t>::is_always_lock_free);

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
      std::memcpy(point.name.data(), name, ::strnlen(name, point.name.size() - 1));
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

// add(offset) for each call of this program that led here; libraries lie elsewhere in each process.
template <class Add>
void for_each_call(Add add) {
  const auto visit = [](_Unwind_Context* call, void* add) {
    const uint64_t offset = _Unwind_GetIP(call) - reinterpret_cast<uintptr_t>(&__executable_start);
    if (offset < static_cast<uint64_t>(&etext - &__executable_start)) (*static_cast<Add*>(add))(offset);
    return _URC_NO_REASON;
  };
  _Unwind_Backtrace(visit, &add);
}

uint64_t call_path() {
  uint64_t path = 14695981039346656037u;
  const auto add = [&path](uint64_t offset) { path = (path ^ offset) * 1099511628211u; };
  for_each_call(add);
  return path | 1;                     // 0 is a free place
}

void note_calls(FaultFile& file) {
  size_t count = 0;
  const auto add = [&](uint64_t offset) {
    if (count < kMaxCalls) file.calls[count++] = offset;
  };
  for_each_call(add);
  if (count < kMaxCalls) file.calls[count] = 0;
}

// Where this call path stands or would stand.
std::atomic<uint64_t>& place_of(FaultFile& file, uint64_t path) {
  size_t i = path / 2 % kMaxPaths;
  while (file.paths[i] != 0 && file.paths[i] != path) i = (i + 1) % kMaxPaths;
  return file.paths[i];
}

bool is_first_of_new_path(FaultFile& file, uint64_t pass) {
  const uint64_t path = call_path();
  std::atomic<uint64_t>& place = place_of(file, path);
  uint64_t wanted = kFirstOfNewPath;
  if (place == path || !file.fails_at.compare_exchange_strong(wanted, pass)) return false;
  place = path;
  return true;
}

bool fails_at(FaultFile& file, Point& point, const char* name) {
  ++point.num_passes;
  if (file.only[0] != '\0' && std::strncmp(file.only.data(), name, file.only.size()) != 0) return false;
  const uint64_t pass = ++file.num_passes;
  const bool is_it = file.fails_at == kFirstOfNewPath ? is_first_of_new_path(file, pass) : file.fails_at == pass;
  if (!is_it) return false;
  ++point.num_faults;
  note_calls(file);
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
