#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "tensor/tensor.h"

namespace gale {

enum class DeviceKind : uint8_t { kCpu, kCuda, kNull };

// What an op implementation may ask about the machine.
struct DeviceCaps {
  DeviceKind kind = DeviceKind::kCpu;
  int compute_capability = 0;          // 90 for sm_90; 0 if not CUDA
  bool has_graphs = false;
  DType activation_dtype = DType::kF32;   // what layers compute in: f32 on the CPU, bf16 on CUDA
  std::string name;                    // "NVIDIA H100 80GB HBM3", "cpu, 2 threads"
};

struct DeviceMemory { size_t total_bytes = 0; size_t free_bytes = 0; };

// Work captured once and launched many times.
class Graph {
 public:
  virtual ~Graph() = default;
};

// A point in a stream's work.
class StreamEvent {
 public:
  virtual ~StreamEvent() = default;
  virtual void wait() = 0;                    // blocks the host until everything before the point is done
  [[nodiscard]] virtual bool is_done() const = 0;
};

// An ordered queue of work. The CPU's is synchronous: work is done when the call returns.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void synchronize() = 0;
  [[nodiscard]] virtual std::unique_ptr<StreamEvent> record() = 0;
  virtual void begin_capture() = 0;           // CHECKs DeviceCaps::has_graphs
  [[nodiscard]] virtual std::unique_ptr<Graph> end_capture() = 0;
  virtual void launch(Graph& graph) = 0;
};

enum class MemoryKind : uint8_t { kDevice, kHostPinned };

// Memory that is given back when this goes away.
class Buffer {
 public:
  virtual ~Buffer() = default;
  [[nodiscard]] virtual std::byte* data() const = 0;
  [[nodiscard]] virtual size_t size() const = 0;
};

// One accelerator, or the CPU. Created by `app` alone and handed down by reference; outlives all that it made.
class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual const DeviceCaps& caps() const = 0;
  [[nodiscard]] virtual DeviceMemory memory() const = 0;
  [[nodiscard]] virtual std::unique_ptr<Stream> make_stream() = 0;
  // Zeroed memory, 256-byte aligned; kOutOfMemory says how much was asked for and how much is there.
  [[nodiscard]] virtual Result<std::unique_ptr<Buffer>> allocate(MemoryKind kind, size_t num_bytes) = 0;
  // Asynchronous on the stream; host memory should be pinned on CUDA.
  virtual void copy(Stream& stream, void* to, const void* from, size_t num_bytes) = 0;
};

// Hands out aligned pieces of one buffer, front to back; never frees a piece. Weights, KV blocks and activations come
// from arenas and nowhere else, so that memory can be planned and later be owned by another process.
class Arena {
 public:
  static constexpr size_t kAlignment = 256;
  [[nodiscard]] static Result<Arena> create(Device& device, MemoryKind kind, size_t num_bytes);
  [[nodiscard]] static size_t padded(size_t num_bytes) {
    return (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // A contiguous tensor; CHECKs that it fits (sizes are planned before).
  [[nodiscard]] Tensor allocate(DType dtype, const Shape& shape);
  void reset() { used_ = 0; }                 // forgets all pieces; for workspaces
  // Forgets all pieces handed out since used_bytes() was `used_bytes`: scratch of one layer within a step.
  void rewind(size_t used_bytes) {
    CHECK(used_bytes <= used_, "rewind to {} of {} bytes", used_bytes, used_);
    used_ = used_bytes;
  }
  [[nodiscard]] size_t used_bytes() const { return used_; }
  [[nodiscard]] size_t capacity_bytes() const { return buffer_->size(); }

 private:
  explicit Arena(std::unique_ptr<Buffer> buffer) : buffer_(std::move(buffer)) {}
  std::unique_ptr<Buffer> buffer_;
  size_t used_ = 0;
};

// Allocates real host memory so that checks can read it, runs nothing: for shape checks and memory plans.
[[nodiscard]] std::unique_ptr<Device> make_null_device();

}  // namespace gale
