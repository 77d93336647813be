// `gale doctor --bundle`: what somebody who helps needs to see, and nothing that is nobody's business.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "app/examination.h"
#include "app/machine_facts.h"
#include "base/json.h"
#include "base/unique_fd.h"
#include "config/command_line.h"

namespace gale {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLogLines = 2000;
constexpr size_t kLongestLine = 500;
constexpr const char* kRemoved = "[removed]";

// A folder that is gone when the archive is made.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = fs::temp_directory_path() / "gale-bundle-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code trouble;
    if (!path_.empty()) fs::remove_all(path_, trouble);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Takes secrets out: those that are known, and whatever follows a name that means one.
class Redactor {
 public:
  explicit Redactor(std::vector<std::string> known) : known_(std::move(known)) {}

  [[nodiscard]] std::string clean(std::string text) const {
    for (const std::string& secret : known_) {
      for (size_t at = text.find(secret); at != std::string::npos && !secret.empty(); at = text.find(secret, at))
        text.replace(at, secret.size(), kRemoved);
    }
    static const std::regex named(R"re(((api[-_]?key|password|passwd|secret|token|authorization)["']?\s*[=: ]\s*))re"
                                  R"re(("[^"]*"|'[^']*'|\[[^\]]*\]|(bearer\s+)?[^\s,;"']+))re",
                                  std::regex::icase);
    text = std::regex_replace(text, named, fmt::format("$1{}", kRemoved));
    static const std::regex bearer(R"(\b(bearer\s+)\S+)", std::regex::icase);
    static const std::regex in_url(R"(://[^/\s@]+@)");
    text = std::regex_replace(text, bearer, fmt::format("$1{}", kRemoved));
    return std::regex_replace(text, in_url, fmt::format("://{}@", kRemoved));
  }

 private:
  const std::vector<std::string> known_;
};

// Of a log only lines that gale itself wrote: whatever else got in there may hold anything.
std::string log_tail(const std::string& path, const Redactor& redactor) {
  static const std::regex ours(R"(^(debug|info|warning|error) \d\d-\d\d \d\d:\d\d:\d\d.*)");
  const auto is_ours = [](const std::string& line) {
    if (!line.starts_with('{')) return std::regex_match(line, ours);
    const Result<Json> object = parse_json(line);
    return object && object->contains("time") && object->contains("level") && object->contains("role") &&
           object->contains("message");
  };
  std::ifstream file(path);
  std::deque<std::string> kept;
  size_t num_others = 0;
  std::string line;
  while (std::getline(file, line)) {
    if (!is_ours(line)) {
      ++num_others;
      continue;
    }
    if (line.size() > kLongestLine) line = line.substr(0, kLongestLine) + " …";
    kept.push_back(std::move(line));
    if (kept.size() > kLogLines) kept.pop_front();
  }
  std::string out = num_others == 0 ? "" : fmt::format("({} lines that are not gale's were left out)\n", num_others);
  for (const std::string& one : kept) out += redactor.clean(one) + "\n";
  return out;
}

std::string unit_text(const std::string& path, const Redactor& redactor) {
  std::ifstream file(path);
  std::string out, line;
  while (std::getline(file, line)) {
    const bool is_environment = line.starts_with("environment=") || line.starts_with("Environment=");
    out += is_environment ? line.substr(0, line.find('=') + 1) + kRemoved : redactor.clean(line);
    out += "\n";
  }
  return out;
}

// The options of gale serve that differ from their defaults; those that hold secrets by name only.
std::string settings_of(Config config) {
  for (std::string& key : config.server.api_keys) key = kRemoved;
  if (!config.hub.token.empty()) config.hub.token = kRemoved;
  std::string out;
  for (const std::string& argument : arguments_for(Command::kServe, config)) out += argument + "\n";
  return out;
}

std::string settings_of_file(const std::string& config_file) {
  if (config_file.empty()) return "(no --config FILE was named)\n";
  const std::vector<std::string> arguments = {"serve", "MODEL", fmt::format("--{}", "config"), config_file};
  const Result<Invocation> read = read_command_line(arguments, {});
  return read ? settings_of(read->config) : fmt::format("{} cannot be read as options of gale serve\n", config_file);
}

std::string environment_names() {
  std::string out;
  for (const std::string& entry : process_environment()) {
    const std::string name = entry.substr(0, entry.find('='));
    if (name.starts_with("GALE_") || name.starts_with("VLLM_")) out += name + "\n";
  }
  return out;
}

std::vector<std::string> known_secrets(const DoctorConfig& config) {
  std::vector<std::string> out;
  if (!config.api_key.empty()) out.push_back(config.api_key);
  for (const std::string& entry : process_environment()) {
    const std::string name = entry.substr(0, entry.find('='));
    const bool is_secret = name == "GALE_PASSWORD" || name == "GALE_API_KEY" || name == "VLLM_API_KEY";
    if (is_secret && entry.size() > name.size() + 1) out.push_back(entry.substr(name.size() + 1));
  }
  return out;
}

Status write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return {};
  return fail(ErrorCode::kForbidden, "cannot write {}", path);
}

}  // namespace

Status write_bundle(const Config& config, const std::optional<Config>& of_server, const Examination& examination,
                    const ServerAnswers& server) {
  const DoctorConfig& doctor = config.doctor;
  const TemporaryFolder folder;
  if (folder.path().empty()) return fail(ErrorCode::kForbidden, "cannot make a temporary folder");
  const std::string inside = folder.path() + "/gale-support";
  fs::create_directory(inside);
  const Redactor redactor(known_secrets(doctor));
  std::vector<std::pair<std::string, std::string>> files = {
      {"doctor.txt", redactor.clean(examination.text())},
      {"settings-of-file.txt", redactor.clean(settings_of_file(config.config_file))},
      {"settings-of-server.txt", of_server ? redactor.clean(settings_of(*of_server)) : "(no server was found)\n"},
      {"environment.txt", environment_names()},
      {"server_info.json", redactor.clean(server.info)},
      {"metrics.txt", redactor.clean(server.metrics)}};
  std::vector<std::string> logs = doctor.logs;
  for (const char* name : {"gale.log", "gale-2.log", "gale-ui.log", "supervisord.log"})
    logs.push_back(doctor.folder + "/logs/" + name);
  std::error_code trouble;
  for (size_t i = 0; i < logs.size(); ++i) {
    if (!fs::is_regular_file(logs[i], trouble)) continue;
    files.emplace_back(fmt::format("log-{}-{}", i, fs::path(logs[i]).filename().string()), log_tail(logs[i], redactor));
  }
  for (const std::string& unit : {doctor.folder + "/supervisord.conf", std::string("/etc/systemd/system/gale.service"),
                                  std::string("/etc/systemd/system/gale-ui.service")}) {
    if (fs::is_regular_file(unit, trouble))
      files.emplace_back(fs::path(unit).filename().string(), unit_text(unit, redactor));
  }
  for (const auto& [name, text] : files) GALE_TRY(write_text(inside + "/" + name, text));
  const std::string target = fs::absolute(doctor.bundle);
  const UniqueFd made(::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!made.is_open()) return fail(ErrorCode::kForbidden, "cannot write {}", target);
  const std::string listed = output_of({"tar", "-C", folder.path(), "-czvf", target, "gale-support"});
  if (listed.empty()) return fail(ErrorCode::kInternal, "tar did not make {}: is it installed?", target);
  fmt::print("wrote {}; look into it before you send it: tar -xzf {}\n", target, target);
  return {};
}

}  // namespace gale
