#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "backends/cpu/cpu_backend.h"
#include "chat/chat_template.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

// Prints findings; a "!!" is what keeps gale from serving, a "--" is worth knowing.
class Examination {
 public:
  void good(const std::string& text) const { std::printf("ok  %s\n", text.c_str()); }
  void note(const std::string& text) const { std::printf("--  %s\n", text.c_str()); }
  void bad(const std::string& text) {
    std::printf("!!  %s\n", text.c_str());
    is_fit_ = false;
  }
  [[nodiscard]] bool is_fit() const { return is_fit_; }

 private:
  bool is_fit_ = true;
};

void examine_machine(Examination& examination) {
  const std::unique_ptr<Device> device = make_cpu_device(0);
  const DeviceMemory memory = device->memory();
  examination.good(fmt::format("processor: {}", device->caps().name));
  const double free_gib = static_cast<double>(memory.free_bytes) / (1 << 30);
  const std::string text =
      fmt::format("memory: {:.1f} GiB free of {:.1f}", free_gib, static_cast<double>(memory.total_bytes) / (1 << 30));
  free_gib < 0.5 ? examination.bad(text + "; even the built-in model wants half a GiB") : examination.good(text);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096)
    examination.note(fmt::format("open files are limited to {}: that many connections at most; raise it with ulimit -n",
                                 files.rlim_cur));
}

void examine_gpu(Examination& examination) {
  const bool has_driver = std::filesystem::exists("/proc/driver/nvidia/version");
  const bool has_card = std::filesystem::exists("/dev/nvidia0");
  if (!has_driver && !has_card && !has_cuda_build()) {
    return examination.note("GPU: no NVIDIA driver and no card; the model runs on the processor");
  }
  const Result<ChosenDevice> card = open_cuda_device();
  if (!card) return examination.note("GPU: " + card.error().message + "; the model runs on the processor");
  const DeviceMemory memory = card->device->memory();
  const double free_gib = static_cast<double>(memory.free_bytes) / (1 << 30),
               total_gib = static_cast<double>(memory.total_bytes) / (1 << 30);
  examination.good(fmt::format("GPU: {}, {:.1f} GiB free of {:.1f}", card->device->caps().name, free_gib, total_gib));
  constexpr double kBusyShare = 0.1;   // more than a driver takes for itself
  if (free_gib < (1 - kBusyShare) * total_gib)
    examination.note("GPU: other processes hold memory of this card (nvidia-smi lists them)");
}

void examine_port(Examination& examination, int port) {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int yes = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const bool is_free = ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(probe);
  is_free ? examination.good(fmt::format("port {} is free", port))
          : examination.note(
                fmt::format("port {} is taken, perhaps by a gale that runs; choose another with --port", port));
}

void examine_model(Examination& examination, const std::string& model_dir) {
  const auto report = [&](const char* what, const auto& result) {
    result ? examination.good(fmt::format("{}: {}", model_dir, what)) : examination.bad(result.error().message);
  };
  const auto plan = plan_model(model_dir);
  report("config and weights are whole", plan);
  report("tokenizer reads", Tokenizer::load(model_dir + "/tokenizer.json"));
  report("chat template reads", ChatTemplate::load(model_dir));
}

}  // namespace

int run_doctor(const Config& config) {
  Examination examination;
  std::printf("gale %s\n", kVersion);
  examine_machine(examination);
  examine_gpu(examination);
  examine_port(examination, config.server.http.port);
  if (!config.engine.model_dir.empty()) examine_model(examination, config.engine.model_dir);
  return examination.is_fit() ? 0 : 1;
}

}  // namespace gale
