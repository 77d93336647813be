#include "app/examination.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>

#include "app/device.h"
#include "app/machine_facts.h"
#include "app/takeover_messages.h"
#include "backends/cpu/cpu_backend.h"
#include "base/json.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "chat/chat_template.h"
#include "config/command_line.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"
#include "models/model.h"
#include "net/http_client.h"
#include "ops/op_table.h"
#include "tensor/device.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

constexpr double kLeastMemoryGib = 0.5;
constexpr double kLeastDiskGib = 1;
constexpr rlim_t kFewFiles = 4096;
constexpr size_t kShownProcesses = 5;

int64_t number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int64_t>() : 0;
}

// The value of a metric without further labels than the common ones; nothing if it is not there.
std::optional<double> metric(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (!line.starts_with(name + "{") && !line.starts_with(name + " ")) continue;
    double value = 0;
    if (std::istringstream(line.substr(line.rfind(' '))) >> value) return value;
  }
  return std::nullopt;
}

std::string who(const ProcessFacts& process) {
  return process.pid == 0 ? "a process of another user (look as root)"
                          : fmt::format("process {} ({})", process.pid, process.name);
}

std::string os_name() {
  std::string name = line_of("/etc/os-release", "PRETTY_NAME=");
  std::erase(name, '"');
  return name.empty() ? "an unknown system" : name;
}

// What an engine takes for what: from the headers of its model and the options it was started with.
std::optional<MemoryDemand> demand_of_engine(Examination& examination, const EngineConfig& config) {
  if (!config.script_file.empty()) return std::nullopt;   // computes nothing, and so needs nothing
  Result<ChosenDevice> chosen = choose_device(config);
  if (!chosen) return std::nullopt;
  const Result<MemoryPlan> plan = plan_serving(config, *chosen->device, *chosen->ops);
  if (plan) return plan->demand;
  examination.note("engine's memory plan: beside what runs a second one has no room: " + plan.error().message);
  return std::nullopt;
}

// The engine of a server that runs: who holds what, and how much of it is in use.
void examine_engine(Examination& examination, const Json& info, const EngineConfig& config,
                    const ServerAnswers& server) {
  const auto engine = info.find("engine");
  if (engine == info.end() || !engine->is_object())
    return examination.note("engine: not ready; /health and the log say why");
  const double used = metric(server.metrics, "vllm:kv_cache_usage_perc").value_or(0);
  const int64_t num_tokens = number_at(*engine, "num_blocks") * number_at(*engine, "block_size");
  examination.good(fmt::format("KV cache: {} blocks of {} tokens, {:.0f} % in use", number_at(*engine, "num_blocks"),
                               number_at(*engine, "block_size"), 100 * used));
  const std::optional<MemoryDemand> demand = demand_of_engine(examination, config);
  const int64_t kv = demand ? demand->kv_bytes_per_token * num_tokens : 0;
  const int64_t planned = demand ? demand->weight_bytes + demand->workspace_bytes + kv : 0;
  if (demand)
    examination.good(fmt::format("engine: weights {:.2f} GiB, KV cache {:.2f} GiB ({} bytes a token), workspace "
                                 "{:.2f} GiB: {:.2f} GiB in all",
                                 gib(demand->weight_bytes), gib(kv), demand->kv_bytes_per_token,
                                 gib(demand->workspace_bytes), gib(planned)));
  if (used > 0.9)
    examination.note("KV cache: nearly full; sequences wait or are computed again. Lower --max-num-seqs or "
                     "--max-model-len, or give it more memory (--kv-cache-memory-bytes, --gpu-memory-utilization)");
  if (const double preempted = metric(server.metrics, "vllm:num_preemptions_total").value_or(0); preempted > 0)
    examination.note(fmt::format("KV cache: {:.0f} sequences were set back to make room since the start", preempted));
  if (const int64_t restarts = number_at(info, "num_engine_restarts"); restarts > 0)
    examination.note(fmt::format("engine: started again {} times; the log says why", restarts));
  for (const ProcessFacts& process : all_processes()) {
    if (process.name != "gale engine") continue;
    examination.good(fmt::format("engine process {}: {:.2f} GiB of this machine's memory touched so far (program, "
                                 "heap and, on a processor, weights and the part of the cache that was used)",
                                 process.pid, gib(process.resident_bytes)));
  }
}

void examine_files(Examination& examination) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  const std::string text = fmt::format("open files: {} (may be raised to {})", files.rlim_cur, files.rlim_max);
  files.rlim_cur < kFewFiles
      ? examination.note(text + "; a connection takes one: raise it with ulimit -n, LimitNOFILE= or minfds=")
      : examination.good(text);
}

// A card's memory by process, as its driver tells.
void examine_gpu_holders(Examination& examination) {
  const std::string table = output_of({"nvidia-smi", "--query-compute-apps=pid,process_name,used_memory",
                                       "--format=csv,noheader"});
  std::istringstream lines(table);
  std::string line;
  while (std::getline(lines, line)) examination.note("GPU memory: process " + line);
}

}  // namespace

ServerAnswers ask_server(const DoctorConfig& config) {
  ServerAnswers out;
  const Result<ServerUrl> url = parse_server_url(config.url, config.tls);
  if (!url) {
    out.trouble = url.error().message;
    return out;
  }
  HttpClient client(*url, std::chrono::seconds(5));
  const auto get = [&](const char* path) -> std::string {
    const auto response = client.send({.method = "GET", .target = path, .body = "", .api_key = config.api_key});
    if (response && response->status == 200) return response->body;
    out.trouble = !response                 ? response.error().message
                  : response->status == 401 ? "it wants a key: give one with --api-key"
                                            : fmt::format("{} was answered with {}", path, response->status);
    return {};
  };
  out.info = get("/server_info");
  if (!out.info.empty()) out.metrics = get("/metrics");
  return out;
}

std::optional<Config> config_of_server(int port) {
  const std::optional<ProcessFacts> server = listener_of(port);
  if (!server || server->name != "gale serve") return std::nullopt;
  std::vector<std::string> arguments = arguments_of(server->pid);
  if (arguments.size() < 2) return std::nullopt;
  arguments.erase(arguments.begin());
  Result<Invocation> read = read_command_line(arguments, {});
  if (!read) return std::nullopt;
  // A relative folder is relative to where that process is.
  std::string& folder = read->config.engine.model_dir;
  if (!folder.empty() && fs::path(folder).is_relative()) folder = fmt::format("/proc/{}/cwd/{}", server->pid, folder);
  return std::move(read->config);
}

void examine_machine(Examination& examination) {
  utsname kernel{};
  ::uname(&kernel);
  const std::unique_ptr<Device> device = make_cpu_device(0);
  examination.good(fmt::format("gale {} ({}), {}, Linux {}", kVersion, has_cuda_build() ? "with CUDA" : "without CUDA",
                               os_name(), kernel.release));
  examination.good(fmt::format("processor: {}", device->caps().name));
  examine_files(examination);
}

void examine_gpu(Examination& examination) {
  const std::string driver = line_of("/proc/driver/nvidia/version", "NVRM version:");
  const bool has_card = fs::exists("/dev/nvidia0");
  if (!driver.empty()) examination.good("GPU driver: " + driver);
  if (driver.empty() && !has_card && !has_cuda_build()) {
    return examination.note("GPU: no NVIDIA driver and no card; the model runs on the processor");
  }
  const Result<ChosenDevice> card = open_cuda_device({});
  if (!card) return examination.note("GPU: " + card.error().message + "; the model runs on the processor");
  const DeviceMemory memory = card->device->memory();
  const double free_gib = gib(static_cast<int64_t>(memory.free_bytes)),
               total_gib = gib(static_cast<int64_t>(memory.total_bytes));
  examination.good(fmt::format("GPU: {}, {:.1f} GiB free of {:.1f}", card->device->caps().name, free_gib, total_gib));
  constexpr double kBusyShare = 0.1;   // more than a driver takes for itself
  if (free_gib >= (1 - kBusyShare) * total_gib) return;
  examination.note("GPU: other processes hold memory of this card; end them, or lower --gpu-memory-utilization");
  examine_gpu_holders(examination);
}

void examine_memory(Examination& examination, const Config& config, const ServerAnswers& server) {
  const std::unique_ptr<Device> device = make_cpu_device(0);
  const DeviceMemory memory = device->memory();
  const double free_gib = gib(static_cast<int64_t>(memory.free_bytes));
  const std::string text = fmt::format("memory: {:.1f} GiB free of {:.1f}", free_gib,
                                       gib(static_cast<int64_t>(memory.total_bytes)));
  free_gib < kLeastMemoryGib ? examination.bad(text + "; even the built-in model wants half a GiB")
                             : examination.good(text);
  std::string holders;
  const std::vector<ProcessFacts> processes = all_processes();
  for (size_t i = 0; i < std::min(kShownProcesses, processes.size()); ++i)
    holders += fmt::format("{}{} {:.2f} GiB", i == 0 ? "" : ", ", processes[i].name, gib(processes[i].resident_bytes));
  if (!holders.empty()) examination.good("who holds most: " + holders);
  const Result<Json> info = parse_json(server.info);
  if (info && info->is_object()) return examine_engine(examination, *info, config.engine, server);
  examination.note("no server was asked about its memory: " + server.trouble);
}

void examine_ports(Examination& examination, const DoctorConfig& config) {
  const Result<ServerUrl> url = parse_server_url(config.url);
  std::vector<std::pair<int, const char*>> ports = {{config.ui_port, "the page"}};
  if (url) ports.insert(ports.begin(), {url->port, "the API"});
  for (const auto& [port, purpose] : ports) {
    const std::optional<ProcessFacts> holder = listener_of(port);
    if (!holder) examination.good(fmt::format("port {} ({}) is free", port, purpose));
    else if (holder->name.starts_with("gale"))
      examination.good(fmt::format("port {} ({}): {}", port, purpose, who(*holder)));
    else examination.note(fmt::format("port {} ({}) is taken by {}; end it, or choose another with --port", port,
                                      purpose, who(*holder)));
  }
}

void examine_disk(Examination& examination, const Config& config) {
  for (const std::string& folder : {config.doctor.folder, std::string("/tmp"), config.engine.model_dir}) {
    struct statvfs disk {};
    if (folder.empty() || ::statvfs(folder.c_str(), &disk) != 0) continue;
    const double free_gib = gib(static_cast<int64_t>(disk.f_bavail * disk.f_frsize));
    const std::string text = fmt::format("disk: {:.1f} GiB free under {}", free_gib, folder);
    free_gib < kLeastDiskGib ? examination.note(text + "; logs stop when it is full, serving goes on: make room")
                             : examination.good(text);
  }
}

void examine_runtime_dir(Examination& examination) {
  const std::string dir = runtime_dir("");
  const Status usable = check_runtime_dir(dir);
  if (!usable) {
    if (usable.error().code != ErrorCode::kNotFound)
      examination.note("no upgrade by --takeover: " + usable.error().message);
    return;
  }
  std::error_code trouble;
  int num_left = 0;
  for (const auto& entry : fs::directory_iterator(dir, trouble)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = entry.path();
    if (!path.ends_with(".sock") || path.size() >= sizeof address.sun_path) continue;
    std::memcpy(address.sun_path, path.data(), path.size());
    const UniqueFd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const bool is_alive = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    if (is_alive) examination.good("a gale can be taken over from at " + path);
    else ++num_left;
  }
  if (num_left > 0)
    examination.note(fmt::format("{} sockets in {} were left by gales that were killed; harmless, and the next gale on "
                                 "such a port replaces its own", num_left, dir));
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

}  // namespace gale
