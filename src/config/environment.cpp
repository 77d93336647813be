#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "config/sources.h"

namespace gale {
namespace {

constexpr std::string_view kOurs = "GALE_";
constexpr std::string_view kTraces = "OTEL_";   // of OpenTelemetry

constexpr KnownVariable kKnownVariables[] = {
    {"VLLM_LOGGING_PREFIX", "lines of the log begin with time and level"},
    {"VLLM_LOGGING_STREAM", "the log goes to stderr"},
    {"VLLM_CACHE_ROOT", "the server keeps no files"},
    {"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "an engine that gives no beat is replaced, however long its step is"},
    {"VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "the front outlives its engine and starts the next one"},
    {"VLLM_SERVER_DEV_MODE", "there are no routes for development"},
    {"VLLM_MAX_COMPLETION_PROMPTS", "a completion may have 1024 prompts"},
    {"VLLM_MAX_STOP_STRINGS", "a request may have 16 stop strings"},
    {"VLLM_REGEX_COMPILATION_TIMEOUT_S", "patterns and schemas have 2 s to be prepared"},
    {"VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS", "tool calls are parsed token by token, without patterns"},
    {"VLLM_IMAGE_FETCH_TIMEOUT", "pictures and videos are refused by this build"},
    {"VLLM_VIDEO_FETCH_TIMEOUT", "pictures and videos are refused by this build"},
    {"VLLM_MEDIA_URL_ALLOW_REDIRECTS", "pictures and videos are refused by this build"},
    {"OTEL_*", "traces are not sent"},
    {"VLLM_USE_MODELSCOPE", "models come from the Hugging Face Hub, or a mirror that HF_ENDPOINT names"},
};

// What is said of a variable that no option reads.
std::string note_on(std::string_view name) {
  const auto known = std::ranges::find_if(kKnownVariables, [&](const KnownVariable& one) {
    return one.name == name || (one.name.ends_with('*') && name.starts_with(one.name.substr(0, one.name.size() - 1)));
  });
  if (known == std::ranges::end(kKnownVariables))
    return fmt::format("environment variable {} is not known and changes nothing", name);
  return fmt::format("environment variable {} changes nothing: {}", name, known->reason);
}

// `name` ends with "=".
std::string value_of(const Environment& environment, std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.starts_with(name)) return entry.substr(name.size());
  }
  return "";
}

// "--max-num-seqs" as GALE_MAX_NUM_SEQS.
std::string variable_name(const Option& option) {
  std::string name(kOurs);
  for (const char c : option.row.flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

}  // namespace

std::span<const KnownVariable> known_variables() { return kKnownVariables; }

Environment process_environment() {
  Environment out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) out.emplace_back(*entry);
  return out;
}

std::string default_hub_home(const Environment& environment) {
  std::string cache = value_of(environment, "XDG_CACHE_HOME=");
  if (cache.empty()) cache = value_of(environment, "HOME=") + "/.cache";
  return cache + "/huggingface";
}

ProxyConfig proxy_of(const Environment& environment) {
  const auto either = [&](std::string_view small, std::string_view large) {
    std::string value = value_of(environment, small);
    return value.empty() ? value_of(environment, large) : value;
  };
  return {.http = either("http_proxy=", "HTTP_PROXY="),
          .https = either("https_proxy=", "HTTPS_PROXY="),
          .none = either("no_proxy=", "NO_PROXY=")};
}

Values parse_environment(Command command, const Environment& environment, std::vector<std::string>& notes) {
  Values values;
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = entry.substr(0, equals);
    const bool is_candidate = name.starts_with(kOurs) || name.starts_with("VLLM_") || name.starts_with(kTraces);
    bool is_known = false;
    for (const Option& option : all_options()) {
      if (name != variable_name(option) && name != option.row.environment) continue;
      is_known = true;
      // A variable may stand there for another command: only one that this command has is set.
      const bool is_of_command = (option.row.commands & in(command)) != 0;
      // Empty means unset, as other tools have it with the names that they share.
      const bool is_set = name.starts_with(kOurs) || equals + 1 < entry.size();
      if (is_of_command && is_set) values[&option] = {entry.substr(equals + 1)};
    }
    if (is_candidate && !is_known) notes.push_back(note_on(name));
  }
  return values;
}

}  // namespace gale
