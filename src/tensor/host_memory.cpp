#include "tensor/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

namespace gale {
namespace {

class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::byte* data, size_t size) : data_(data), size_(size) {}
  ~HostBuffer() override {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  [[nodiscard]] std::byte* data() const override { return data_; }
  [[nodiscard]] size_t size() const override { return size_; }

 private:
  std::byte* data_;
  size_t size_;
};

class DoneEvent final : public StreamEvent {
 public:
  void wait() override {}
  [[nodiscard]] bool is_done() const override { return true; }
};

}  // namespace

Result<std::unique_ptr<Buffer>> allocate_host_memory(size_t num_bytes) {
  if (num_bytes == 0) return std::make_unique<HostBuffer>(nullptr, 0);
  const DeviceMemory machine = host_memory();
  if (num_bytes > machine.free_bytes) {
    return fail(ErrorCode::kOutOfMemory, "asked for {} bytes of memory, {} of {} are available", num_bytes,
                machine.free_bytes, machine.total_bytes);
  }
  void* data = ::mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kOutOfMemory, "asked for {} bytes of memory: {}", num_bytes, std::strerror(errno));
  }
  ::madvise(data, num_bytes, MADV_HUGEPAGE);   // weights are streamed: fewer TLB misses; refused is harmless
  return std::make_unique<HostBuffer>(static_cast<std::byte*>(data), num_bytes);
}

DeviceMemory host_memory() {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  DeviceMemory memory{.total_bytes = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * page,
                      .free_bytes = static_cast<size_t>(::sysconf(_SC_AVPHYS_PAGES)) * page};
  std::ifstream info("/proc/meminfo");   // counts the page cache as available, which sysconf does not
  std::string key;
  while (info >> key) {
    size_t kibibytes = 0;
    if (key == "MemAvailable:" && info >> kibibytes) memory.free_bytes = kibibytes * 1024;
    info.ignore(1 << 10, '\n');
  }
  return memory;
}

std::unique_ptr<StreamEvent> SynchronousStream::record() { return std::make_unique<DoneEvent>(); }
void SynchronousStream::begin_capture() { CHECK(false, "this device has no graphs"); }
std::unique_ptr<Graph> SynchronousStream::end_capture() { CHECK(false, "this device has no graphs"); }
void SynchronousStream::launch(Graph&) { CHECK(false, "this device has no graphs"); }

}  // namespace gale
