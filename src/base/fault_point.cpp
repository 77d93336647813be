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

}  // namespace

bool fault_happens(const char* name) {
  static FaultFile* const file = open_file();
  if (file == nullptr) return false;
  Point* point = find(*file, name);
  if (point == nullptr) return false;
  ++point->num_passes;
  if (file->only[0] != '\0' && std::strncmp(file->only.data(), name, file->only.size()) != 0) return false;
  if (++file->num_passes != file->fails_at) return false;
  ++point->num_faults;
  return true;
}

}  // namespace gale

#endif
