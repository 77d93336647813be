// A CUDA runtime without a card: what gale calls of it, over a card that is a folder (card_memory.h). Memory is this
// machine's, taken when it is touched; kernels compute nothing, but take their time; stall_kernel and fault_kernel do
// what their names say. So the host's side runs whole where no card is: loading, the memory plan, graphs, the loop a
// step ahead, faults. Answers are token 0 again and again.
//
// A card may name a part of a kernel's name as wrong_kernel: what is read after one of these is nonsense.
//
// Linked before libcudart_static: a call that is missing here would pull that in, and the link fails with two
// definitions of the others.
#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "card_memory.h"

namespace {

using fake_card::Card;
using Clock = std::chrono::steady_clock;

constexpr size_t kContextBytes = size_t{500} << 20;      // about what a context takes of an H100
constexpr auto kForEver = Clock::time_point::max();
constexpr int kCudaVersion = 13'000;

std::atomic<cudaError_t> fault = cudaSuccess;            // a context remembers its fault for ever
thread_local cudaError_t last_error = cudaSuccess;
std::mutex mutex;
std::map<const void*, std::string>& kernel_names() {     // registered before main
  static std::map<const void*, std::string> names;
  return names;
}
std::map<const void*, size_t> allocations;               // device memory

struct Config {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
};
thread_local Config pushed;
std::atomic<bool> computed_nonsense = false;             // by the last kernel

cudaError_t note(cudaError_t error) {
  if (error == cudaSuccess) error = fault;
  if (error != cudaSuccess) last_error = error;
  return error;
}

}  // namespace

struct CUstream_st {
  std::atomic<Clock::time_point> idle_at = Clock::now();
  bool is_capturing = false;
  int num_captured = 0;
};
struct CUevent_st { Clock::time_point done_at; };
struct CUgraph_st { int num_launches; };
struct CUgraphExec_st { int num_launches; };

namespace {

void occupy(cudaStream_t stream, int num_launches) {
  static const std::chrono::nanoseconds each{Card::instance().number("launch_ns", 500)};
  const Clock::time_point idle_at = stream->idle_at;
  if (idle_at == kForEver) return;
  stream->idle_at = std::max(idle_at, Clock::now()) + num_launches * each;
}

cudaError_t wait_until(Clock::time_point time) {
  while (time == kForEver) std::this_thread::sleep_for(std::chrono::hours(1));
  std::this_thread::sleep_until(time);
  return note(cudaSuccess);
}

cudaError_t launch(const void* kernel, cudaStream_t stream) {
  if (fault != cudaSuccess) return note(cudaSuccess);
  if (stream->is_capturing) {
    ++stream->num_captured;
    return cudaSuccess;
  }
  occupy(stream, 1);
  const std::lock_guard lock(mutex);
  const auto found = kernel_names().find(kernel);
  const std::string name = found == kernel_names().end() ? "" : found->second;
  // Mangled names hold the name of their file, too: the length in front tells a function.
  if (name.find("12stall_kernel") != std::string::npos) stream->idle_at = kForEver;
  if (name.find("12fault_kernel") != std::string::npos) fault = cudaErrorIllegalAddress;
  static const std::string wrong = Card::instance().text("wrong_kernel", "");
  computed_nonsense = !wrong.empty() && name.find(wrong) != std::string::npos;
  return cudaSuccess;
}

// Zeroed; no page is taken before it is written.
cudaError_t map_memory(void** out, size_t size) {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return note(cudaErrorMemoryAllocation);
  const std::lock_guard lock(mutex);
  allocations[memory] = size;
  *out = memory;
  return note(cudaSuccess);
}

size_t unmap_memory(void* memory) {
  const std::lock_guard lock(mutex);
  const auto found = allocations.find(memory);
  if (found == allocations.end()) return 0;
  const size_t size = found->second;
  allocations.erase(found);
  ::munmap(memory, size);
  return size;
}

bool is_on_card(const void* memory) {
  const std::lock_guard lock(mutex);
  const auto behind = allocations.upper_bound(memory);
  if (behind == allocations.begin()) return false;
  const auto& [begin, size] = *std::prev(behind);
  return memory < static_cast<const std::byte*>(begin) + size;
}

unsigned encode_tensor_map() { return 0; }               // cuTensorMapEncodeTiled: CUDA_SUCCESS

}  // namespace

extern "C" {

// --- the card ---

cudaError_t cudaDriverGetVersion(int* version) {
  *version = static_cast<int>(Card::instance().number("driver", kCudaVersion));
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  *count = 0;
  if (driver < kCudaVersion) return note(cudaErrorInsufficientDriver);
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible != nullptr && *visible == '\0') return note(cudaErrorNoDevice);
  if (const auto error = Card::instance().number("init_error", 0)) return note(static_cast<cudaError_t>(error));
  *count = 1;
  return note(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  const std::string name = Card::instance().text("name", "NVIDIA H100 80GB HBM3");
  std::strncpy(properties->name, name.c_str(), sizeof properties->name - 1);
  const auto capability = static_cast<int>(Card::instance().number("capability", 90));
  properties->major = capability / 10;
  properties->minor = capability % 10;
  properties->totalGlobalMem = Card::instance().total_bytes();
  properties->multiProcessorCount = 132;
  return note(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 132 : 0;
  if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) *value = 227 * 1024;
  return note(cudaSuccess);
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return note(cudaSuccess);
}

cudaError_t cudaSetDevice(int) {
  static const bool has_context = Card::instance().take(kContextBytes);
  return note(has_context ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = Card::instance().free_bytes();
  *total_bytes = Card::instance().total_bytes();
  return note(cudaSuccess);
}

// --- errors ---

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = fault;
  return error;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    default: return "an error of the fake card";
  }
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorOfTheFakeCard";
}

// --- memory ---

cudaError_t cudaMalloc(void** out, size_t size) {
  if (!Card::instance().take(size)) return note(cudaErrorMemoryAllocation);
  return map_memory(out, size);
}
cudaError_t cudaMallocHost(void** out, size_t size) { return map_memory(out, size); }
cudaError_t cudaFree(void* memory) {
  if (memory != nullptr) Card::instance().give_back(unmap_memory(memory));
  return note(cudaSuccess);
}
cudaError_t cudaFreeHost(void* memory) {
  unmap_memory(memory);
  return note(cudaSuccess);
}
cudaError_t cudaMemset(void* memory, int value, size_t size) {
  const std::lock_guard lock(mutex);
  const auto found = allocations.find(memory);
  const bool is_fresh = value == 0 && found != allocations.end() && found->second == size;
  if (!is_fresh) std::memset(memory, value, size);
  return note(cudaSuccess);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t stream) {
  if (stream->is_capturing) return note(cudaSuccess);
  std::memcpy(to, from, size);
  if (computed_nonsense && is_on_card(from)) std::memset(to, 0x17, size);
  return note(cudaSuccess);
}

// --- streams, events, graphs ---

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return note(cudaSuccess);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return note(cudaSuccess);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == cudaStreamLegacy) return note(cudaSuccess);
  return wait_until(stream->idle_at);
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->is_capturing = true;
  stream->num_captured = 0;
  return note(cudaSuccess);
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  stream->is_capturing = false;
  *graph = new CUgraph_st{stream->num_captured};
  return note(cudaSuccess);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->num_launches};
  return note(cudaSuccess);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return note(cudaSuccess);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return note(cudaSuccess);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  occupy(stream, executable->num_launches);
  return note(cudaSuccess);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st{};
  return note(cudaSuccess);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->done_at = stream->idle_at;
  return note(cudaSuccess);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (Clock::now() < event->done_at) return cudaErrorNotReady;
  return note(cudaSuccess);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->done_at - begin->done_at).count();
  return note(cudaSuccess);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return wait_until(event->done_at); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return note(cudaSuccess);
}

// --- kernels ---

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};
  const bool has_kernels = Card::instance().number("has_kernels", 1) != 0;
  return note(has_kernels ? cudaSuccess : cudaErrorNoKernelImageForDevice);
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return note(cudaSuccess); }
cudaError_t cudaOccupancyMaxActiveClusters(int* count, const void*, const cudaLaunchConfig_t*) {
  *count = 8;
  return note(cudaSuccess);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel, void**) {
  return launch(kernel, config->stream);
}
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *function = reinterpret_cast<void*>(&encode_tensor_map);
  if (result != nullptr) *result = cudaDriverEntryPointSuccess;
  return note(cudaSuccess);
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
  pushed = {grid, block, shared, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared = pushed.shared;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t stream) {
  return launch(reinterpret_cast<const void*>(kernel), stream);
}
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  const std::lock_guard lock(mutex);
  kernel_names()[function] = name;
}

}  // extern "C"
