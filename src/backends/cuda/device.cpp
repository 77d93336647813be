#include <cuda_runtime.h>
#include <fmt/format.h>

#include <atomic>
#include <string>

#include "backends/cuda/card.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/kernel_table.h"
#include "backends/cuda/stream.h"
#include "base/check.h"
#include "base/log.h"

namespace gale {

using cuda::KernelTable;

namespace {

// A CUDA call that fails here means that the device is lost: the process ends and the front starts a new engine.
void check_cuda(cudaError_t error, const char* what) {
  CHECK(error == cudaSuccess, "{}: {} ({})", what, cudaGetErrorString(error), static_cast<int>(error));
}

void log_if_failed(cudaError_t error, const char* what) {
  if (error != cudaSuccess) log_error("{}: {}", what, cudaGetErrorString(error));
}

class CudaGraph final : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t executable) : executable_(executable) {}
  ~CudaGraph() override { log_if_failed(cudaGraphExecDestroy(executable_), "cudaGraphExecDestroy"); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  [[nodiscard]] cudaGraphExec_t executable() const { return executable_; }

 private:
  cudaGraphExec_t executable_;
};

class CudaEvent final : public StreamEvent {
 public:
  explicit CudaEvent(cudaStream_t stream) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
    check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  ~CudaEvent() override { log_if_failed(cudaEventDestroy(event_), "cudaEventDestroy"); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void wait() override { check_cuda(cudaEventSynchronize(event_), "waiting for the device"); }
  [[nodiscard]] bool is_done() const override {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) return false;
    check_cuda(state, "asking the device");
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaStream final : public Stream {
 public:
  explicit CudaStream(const KernelTable& table) : table_(table) {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~CudaStream() override { log_if_failed(cudaStreamDestroy(stream_), "cudaStreamDestroy"); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  void synchronize() override { check_cuda(cudaStreamSynchronize(stream_), "waiting for the device"); }
  [[nodiscard]] std::unique_ptr<StreamEvent> record() override { return std::make_unique<CudaEvent>(stream_); }
  void begin_capture() override {
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  }
  [[nodiscard]] std::unique_ptr<Graph> end_capture() override {
    cudaGraph_t graph = nullptr;
    check_cuda(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return std::make_unique<CudaGraph>(executable);
  }
  void launch(Graph& graph) override {
    check_cuda(cudaGraphLaunch(static_cast<CudaGraph&>(graph).executable(), stream_), "cudaGraphLaunch");
  }
  [[nodiscard]] cudaStream_t handle() const { return stream_; }
  [[nodiscard]] const KernelTable& table() const { return table_; }

 private:
  const KernelTable& table_;
  cudaStream_t stream_ = nullptr;
};

class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(std::byte* data, size_t size, MemoryKind kind) : data_(data), size_(size), kind_(kind) {}
  ~CudaBuffer() override {
    if (kind_ == MemoryKind::kDevice) {
      log_if_failed(cudaFree(data_), "cudaFree");
    } else {
      log_if_failed(cudaFreeHost(data_), "cudaFreeHost");
    }
  }
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  [[nodiscard]] std::byte* data() const override { return data_; }
  [[nodiscard]] size_t size() const override { return size_; }

 private:
  std::byte* data_;
  size_t size_;
  MemoryKind kind_;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, DeviceCaps caps, KernelTable table)
      : index_(index), caps_(std::move(caps)), table_(std::move(table)) {}
  [[nodiscard]] const KernelTable& table() const { return table_; }
  [[nodiscard]] const DeviceCaps& caps() const override { return caps_; }
  [[nodiscard]] DeviceMemory memory() const override {
    check_cuda(cudaSetDevice(index_), "cudaSetDevice");
    DeviceMemory memory;
    check_cuda(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes), "cudaMemGetInfo");
    return memory;
  }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override {
    check_cuda(cudaSetDevice(index_), "cudaSetDevice");
    return std::make_unique<CudaStream>(table_);
  }
  [[nodiscard]] Result<std::unique_ptr<Buffer>> allocate(MemoryKind kind, size_t num_bytes) override {
    check_cuda(cudaSetDevice(index_), "cudaSetDevice");
    void* data = nullptr;
    const size_t size = num_bytes == 0 ? 1 : num_bytes;
    const cudaError_t error = kind == MemoryKind::kDevice ? cudaMalloc(&data, size) : cudaMallocHost(&data, size);
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();   // clears the error, which is answered here
      return fail(ErrorCode::kOutOfMemory, "{}: {} bytes asked for, {} of {} free", caps_.name, num_bytes,
                  memory().free_bytes, memory().total_bytes);
    }
    check_cuda(error, "allocating memory");
    check_cuda(cudaMemset(data, 0, size), "cudaMemset");
    check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "cudaMemset");   // our streams do not wait for the default one
    return std::make_unique<CudaBuffer>(static_cast<std::byte*>(data), num_bytes, kind);
  }
  void copy(Stream& stream, void* to, const void* from, size_t num_bytes) override {
    check_cuda(cudaMemcpyAsync(to, from, num_bytes, cudaMemcpyDefault, cuda::handle_of(stream)), "cudaMemcpyAsync");
  }

 private:
  int index_;
  DeviceCaps caps_;
  KernelTable table_;
};

std::atomic<bool> is_opened = false;

}  // namespace

std::optional<std::string> cuda_device_failure() {
  if (!is_opened) return std::nullopt;
  const cudaError_t error = cudaFree(nullptr);   // touches the context, which remembers its fault for ever
  if (error == cudaSuccess) return std::nullopt;
  return fmt::format("the GPU failed: {} ({} {})", cudaGetErrorString(error), cudaGetErrorName(error),
                     static_cast<int>(error));
}

namespace cuda {
cudaStream_t handle_of(Stream& stream) { return static_cast<CudaStream&>(stream).handle(); }
const KernelTable& table_of(Stream& stream) { return static_cast<CudaStream&>(stream).table(); }
const KernelTable& table_of(const Device& device) { return static_cast<const CudaDevice&>(device).table(); }
std::unique_ptr<Stream> make_stream_with(const KernelTable& table) { return std::make_unique<CudaStream>(table); }
}  // namespace cuda

Result<std::unique_ptr<Device>> make_cuda_device(int index, const std::string& kernel_table) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    return fail(ErrorCode::kUnavailable, "{}", cuda::explain_no_device(error, driver));
  }
  if (index < 0 || index >= count)
    return fail(ErrorCode::kUnavailable, "there is no GPU {}: this machine shows {}", index, count);
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  DeviceCaps caps;
  caps.kind = DeviceKind::kCuda;
  caps.compute_capability = properties.major * 10 + properties.minor;
  caps.has_graphs = true;
  caps.activation_dtype = DType::kBF16;
  caps.name = properties.name;
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
  if (const auto reason =
          cuda::reason_against_card(caps.name, properties.major, properties.minor, cuda::current_card_has_kernels()))
    return fail(ErrorCode::kUnavailable, "{}", *reason);
  is_opened = true;
  GALE_ASSIGN(cuda::KernelTable table,
              cuda::load_kernel_table({caps.name, caps.compute_capability, properties.multiProcessorCount},
                                      kernel_table));
  return std::make_unique<CudaDevice>(index, std::move(caps), std::move(table));
}

}  // namespace gale
