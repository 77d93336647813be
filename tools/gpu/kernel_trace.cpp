// Writes down every kernel that a CUDA process runs, one line each: start and end in nanoseconds, grid, block, name.
//
// Loaded by the CUDA driver itself, so that the traced program needs no change:
//   g++ -O2 -shared -fPIC -I CUPTI/include -o libkernel_trace.so kernel_trace.cpp -L CUPTI/lib -l:libcupti.so.13
//   export CUDA_INJECTION64_PATH=$PWD/libkernel_trace.so
//   KERNEL_TRACE_FILE=/tmp/kernels gale serve …   # writes /tmp/kernels.PID
// Kernels of graphs are written one by one. tools/gpu/profile_step.py builds it, runs it and reads the lines.
#include <cupti.h>
#include <cxxabi.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

std::mutex mutex;   // CUPTI hands buffers back on a thread of its own
FILE* file = nullptr;

const std::string& demangled(const char* name) {
  static std::map<std::string, std::string> known;
  std::string& text = known[name];
  if (text.empty()) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
    text = status == 0 ? plain.get() : name;
  }
  return text;
}

void give_buffer(uint8_t** buffer, size_t* size, size_t* max_num_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *max_num_records = 0;
}

void write_buffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer, size_t /*size*/, size_t valid_size) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_size, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
    std::fprintf(file, "%llu %llu %dx%dx%d %d %s\n", static_cast<unsigned long long>(kernel->start),
                 static_cast<unsigned long long>(kernel->end), kernel->gridX, kernel->gridY, kernel->gridZ,
                 kernel->blockX * kernel->blockY * kernel->blockZ, demangled(kernel->name).c_str());
  }
  std::fflush(file);
  std::free(buffer);
}

}  // namespace

extern "C" int InitializeInjection() {
  const char* prefix = std::getenv("KERNEL_TRACE_FILE");
  if (prefix == nullptr) return 1;
  file = std::fopen((std::string(prefix) + "." + std::to_string(getpid())).c_str(), "w");
  if (file == nullptr) return 0;
  if (cuptiActivityRegisterCallbacks(give_buffer, write_buffer) != CUPTI_SUCCESS ||
      cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) != CUPTI_SUCCESS) {
    std::fprintf(stderr, "kernel_trace: CUPTI refuses\n");
    return 0;
  }
  cuptiActivityFlushPeriod(500);   // ms: an engine may be ended without its exit handlers
  std::atexit([] { cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED); });
  return 1;
}
