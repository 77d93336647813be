#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/machine_facts.h"
#include "app/service_account.h"
#include "app/service_units.h"
#include "hub/hub.h"
#include "ui/page_access.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSupervisor = "/usr/bin/supervisord";
constexpr const char* kSupervisorControl = "/usr/bin/supervisorctl";
constexpr const char* kSystemControl = "/usr/bin/systemctl";
constexpr const char* kJournal = "/usr/bin/journalctl";
constexpr const char* kSystemdRuns = "/run/systemd/system";

Result<int> run(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int trouble = ::posix_spawn(&pid, arguments[0], nullptr, nullptr, arguments.data(), environ);
  if (trouble != 0) return fail(ErrorCode::kNotFound, "cannot run {}: {}", command[0], std::strerror(trouble));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : kExitInternal;
}

Status run_well(const std::vector<std::string>& command) {
  GALE_ASSIGN(const int code, run(command));
  if (code != 0)
    return fail(ErrorCode::kInternal, "{} {} ended with {}", command[0], command.size() > 1 ? command.back() : "",
                code);
  return {};
}

Status write_file(const UnitFile& file) {
  std::error_code trouble;
  fs::create_directories(fs::path(file.path).parent_path(), trouble);
  const int fd = ::open(file.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, file.is_secret ? 0600 : 0644);
  const bool is_written = fd >= 0 && ::fchmod(fd, file.is_secret ? 0600 : 0644) == 0 &&
                          ::write(fd, file.text.data(), file.text.size()) == static_cast<ssize_t>(file.text.size());
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!is_written) return fail(ErrorCode::kForbidden, "cannot write {}: {}", file.path, std::strerror(error));
  fmt::print("wrote {}\n", file.path);
  return {};
}

// What a machine starts services with.
class Manager {
 public:
  virtual ~Manager() = default;
  [[nodiscard]] virtual std::vector<UnitFile> files() const = 0;
  [[nodiscard]] virtual Status start() const = 0;
  [[nodiscard]] virtual Result<int> status() const = 0;
  [[nodiscard]] virtual Result<int> logs() const = 0;
  [[nodiscard]] virtual Status upgrade() const = 0;   // the program that lies there now takes over
  [[nodiscard]] virtual Status stop() const = 0;
  virtual void clean_up() const = 0;             // what running left behind
  [[nodiscard]] virtual std::string note() const { return {}; }   // what else is to be known of what was installed
};

class Supervisor final : public Manager {
 public:
  explicit Supervisor(ServicePlan plan) : plan_(std::move(plan)), file_(supervisor_file(plan_)) {}
  std::vector<UnitFile> files() const override { return {file_}; }
  Status start() const override {
    std::error_code trouble;
    fs::create_directories(folder() + "/logs", trouble);
    if (is_running()) return run_well({kSupervisorControl, "-c", file_.path, "reload"});
    return run_well({kSupervisor, "-c", file_.path});
  }
  Result<int> status() const override { return run({kSupervisorControl, "-c", file_.path, "status"}); }
  Result<int> logs() const override {
    std::vector<std::string> command = {"/usr/bin/tail", "-n", "200"};
    for (const char* name : {kFirstFront, kSecondFront, "gale-ui"}) {
      const std::string log = fmt::format("{}/logs/{}.log", folder(), name);
      if (fs::exists(log)) command.push_back(log);
    }
    return run(command);
  }
  Status upgrade() const override;
  Status stop() const override {
    if (!is_running()) return {};
    GALE_TRY(run_well({kSupervisorControl, "-c", file_.path, "shutdown"}));
    for (int i = 0; i < 600 && is_running(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (is_running()) return fail(ErrorCode::kDeadline, "supervisord in {} did not leave", folder());
    return {};
  }
  void clean_up() const override {
    std::error_code trouble;
    for (const char* name : {"/logs", "/run", "/supervisor.sock", "/supervisord.pid"})
      fs::remove_all(folder() + name, trouble);
    fs::remove(folder(), trouble);               // unless somebody keeps something else there
  }

 private:
  // With a line's end; empty if it does not run.
  [[nodiscard]] std::string pid_of(const char* program) const {
    const std::string pid = output_of({kSupervisorControl, "-c", file_.path, "pid", program});
    return pid == "0\n" ? std::string() : pid;
  }
  [[nodiscard]] const std::string& folder() const { return plan_.service.folder; }
  [[nodiscard]] bool is_running() const { return ::access((folder() + "/supervisor.sock").c_str(), F_OK) == 0; }

  const ServicePlan plan_;
  const UnitFile file_;
};

// Starts the place that is free and waits until the other one has been left. One that fails is stopped, at once or
// later, or supervisor would try it again beside the one that serves.
Status Supervisor::upgrade() const {
  const bool is_first = !pid_of(kFirstFront).empty();
  if (is_first == !pid_of(kSecondFront).empty())
    return fail(ErrorCode::kUnavailable, "expected one of {} and {} to run: see gale service status", kFirstFront,
                kSecondFront);
  const char* const old = is_first ? kFirstFront : kSecondFront;
  const char* const next = is_first ? kSecondFront : kFirstFront;
  if (const Status started = run_well({kSupervisorControl, "-c", file_.path, "start", next}); !started) {
    GALE_TRY(run({kSupervisorControl, "-c", file_.path, "stop", next}));   // says so where it was given up already
    return started;
  }
  const std::string started = pid_of(next);
  while (!pid_of(old).empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (!started.empty() && pid_of(next) == started) continue;
    if (pid_of(old).empty()) break;
    GALE_TRY(run_well({kSupervisorControl, "-c", file_.path, "stop", next}));
    return fail(ErrorCode::kUnavailable, "the new gale did not get to serving: {} goes on; see gale service logs", old);
  }
  fmt::print("{} took over from {}\n", next, old);
  return {};
}

class Systemd final : public Manager {
 public:
  explicit Systemd(const ServicePlan& plan) : files_(systemd_files(plan)), account_(plan.account) {}
  std::string note() const override {
    if (account_.empty()) return {};
    return fmt::format("They run as {}, who alone may read program or model; where others may, as a user of their own.",
                       account_);
  }
  std::vector<UnitFile> files() const override { return files_; }
  Status start() const override {
    GALE_TRY(run_well({kSystemControl, "daemon-reload"}));
    return run_well({kSystemControl, "enable", "--now", "gale.service", "gale-ui.service"});
  }
  Result<int> status() const override {
    return run({kSystemControl, "--no-pager", "status", "gale.service", "gale-ui.service"});
  }
  Result<int> logs() const override {
    return run({kJournal, "--no-pager", "-n", "200", "-u", "gale.service", "-u", "gale-ui.service"});
  }
  Status upgrade() const override {
    GALE_TRY(run_well({kSystemControl, "reload", "gale.service"}));
    fmt::print("the new gale loads beside the running one and takes over then: see gale service logs\n");
    return {};
  }
  Status stop() const override {
    return run_well({kSystemControl, "disable", "--now", "gale.service", "gale-ui.service"});
  }
  void clean_up() const override {
    std::error_code trouble;
    fs::remove("/etc/gale/ui.env", trouble);     // also where this call names no password
    fs::remove("/etc/gale", trouble);
    const Result<int> code = run({kSystemControl, "daemon-reload"});
    if (!code) fmt::print(stderr, "{}\n", code.error().message);
  }

 private:
  const std::vector<UnitFile> files_;
  const std::string account_;
};

Result<std::unique_ptr<Manager>> make_manager(const ServicePlan& plan) {
  const std::string& wanted = plan.service.manager;
  const bool has_systemd = fs::exists(kSystemdRuns), has_supervisor = fs::exists(kSupervisor);
  if (wanted == "systemd" || (wanted == "auto" && has_systemd)) {
    ServicePlan with_account = plan;
    if (plan.service.action == "install") {
      GALE_ASSIGN(with_account.account, service_account(plan.program, plan.service.model));
    }
    return std::make_unique<Systemd>(with_account);
  }
  if (wanted == "supervisor" || (wanted == "auto" && has_supervisor)) return std::make_unique<Supervisor>(plan);
  return fail(ErrorCode::kNotFound,
              "this machine runs neither systemd nor has supervisor: install the package supervisor");
}

Result<ServicePlan> make_plan(const Config& whole) {
  const ServiceConfig& config = whole.service;
  std::error_code trouble;
  ServicePlan plan{.service = config,
                   .program = fs::read_symlink("/proc/self/exe", trouble),
                   .log_format = whole.log_format};
  if (!config.program.empty()) plan.program = config.program;
  plan.service.folder = fs::absolute(config.folder).lexically_normal();
  if (config.action != "install") return plan;
  if (config.model.empty()) return fail(ErrorCode::kInvalidArgument, "which model? name its folder with --model");
  plan.service.model = fs::absolute(config.model).lexically_normal();
  while (plan.service.model.ends_with('/')) plan.service.model.pop_back();
  if (!config.is_dry_run && !fs::exists(plan.service.model + "/config.json")) {
    return fail(ErrorCode::kNotFound, "{} is no model folder: there is no config.json in it{}", plan.service.model,
                is_hub_name(config.model) ? fmt::format("; gale download {} prints one", config.model) : "");
  }
  for (const std::string& path : {plan.service.model, plan.service.folder, plan.program}) {
    if (path.find_first_of(" \t\n\"'\\;") != std::string::npos)
      return fail(ErrorCode::kInvalidArgument, "'{}': a path without blanks and quotes is needed", path);
  }
  if (plan.service.password.find_first_of("\"\\\n") != std::string::npos)
    return fail(ErrorCode::kInvalidArgument, "a password without quotes, backslashes and line ends is needed");
  if (plan.service.password.empty() && !is_loopback_host(config.ui_host)) plan.service.password = make_password();
  return plan;
}

Status install(const Manager& manager, const ServicePlan& plan) {
  if (plan.service.is_dry_run) {
    for (const UnitFile& file : manager.files()) fmt::print("# {}\n{}", file.path, file.text);
    return {};
  }
  for (const UnitFile& file : manager.files()) GALE_TRY(write_file(file));
  GALE_TRY(manager.start());
  if (const std::string note = manager.note(); !note.empty()) fmt::print("{}\n", note);
  fmt::print("The API is on port {}, the page on port {}.\n", plan.service.port, plan.service.ui_port);
  if (!plan.service.password.empty()) fmt::print("The page asks for this password: {}\n", plan.service.password);
  return {};
}

Status uninstall(const Manager& manager, bool is_dry_run) {
  if (is_dry_run) {
    for (const UnitFile& file : manager.files()) fmt::print("would remove {}\n", file.path);
    return {};
  }
  GALE_TRY(manager.stop());
  for (const UnitFile& file : manager.files()) {
    std::error_code trouble;
    if (fs::remove(file.path, trouble)) fmt::print("removed {}\n", file.path);
  }
  manager.clean_up();
  return {};
}

Result<int> act(const Config& whole) {
  const ServiceConfig& config = whole.service;
  GALE_ASSIGN(const ServicePlan plan, make_plan(whole));
  GALE_ASSIGN(const std::unique_ptr<Manager> manager, make_manager(plan));
  if (config.action == "install") GALE_TRY(install(*manager, plan));
  if (config.action == "upgrade") GALE_TRY(manager->upgrade());
  if (config.action == "uninstall") GALE_TRY(uninstall(*manager, config.is_dry_run));
  if (config.action == "status") return manager->status();
  if (config.action == "logs") return manager->logs();
  return 0;
}

}  // namespace

int run_service(const Config& config) {
  const Result<int> code = act(config);
  return code ? *code : report(code.error());
}

}  // namespace gale
