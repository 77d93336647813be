// gale, but the draw of a step goes wrong once when the file $GALE_FAULT_FILE says "stall" or "fault": for
// tools/gpu/faults.py. The product has no such door: this program brings its own way to open the card.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "app/app.h"
#include "app/device.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/stream.h"
#include "fault_kernels.h"
#include "ops/dispatch.h"

namespace gale {
namespace {

DeviceCaps card_caps;

// The order that lies in the file, which is taken away: it holds for one step of one engine.
std::string take_order() {
  const char* path = std::getenv("GALE_FAULT_FILE");
  std::ifstream file(path == nullptr ? "" : path);
  std::string order;
  if (!(file >> order)) return "";
  std::remove(path);
  return order;
}

void sample_with_faults(Stream& stream, const SampleArgs& args) {
  const std::string order = take_order();
  if (order == "stall") launch_stall(cuda::handle_of(stream));
  if (order == "fault") launch_fault(cuda::handle_of(stream));
  choose(cuda_op_table().sample, card_caps, args)->run(stream, args);
}
bool always(const DeviceCaps&, const SampleArgs&) { return true; }

constexpr std::array<OpImpl<SampleArgs>, 1> kSampleWithFaults = {{{"sample_with_faults", always, sample_with_faults}}};

}  // namespace

bool has_cuda_build() { return true; }

Result<ChosenDevice> open_cuda_device(const EngineConfig& config) {
  GALE_ASSIGN(std::unique_ptr<Device> device, make_cuda_device(0, config.kernel_table));
  card_caps = device->caps();
  static const OpTable table = [] {
    OpTable out = cuda_op_table();
    out.sample = kSampleWithFaults;
    return out;
  }();
  return ChosenDevice(std::move(device), table);
}

std::optional<std::string> cuda_failure() { return cuda_device_failure(); }

}  // namespace gale

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return gale::run_program("/proc/self/exe", arguments);
}
