#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <memory>

#include "base/json.h"
#include "base/utf8.h"

namespace gale {
namespace {

constexpr size_t kMaxMessageBytes = 2400;   // of a JSON line, with its escapes
constexpr size_t kMaxFieldBytes = 400;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

// The one logger of the process: spdlog's registry would be a second owner, so it is kept here.
spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created = std::make_shared<spdlog::logger>("gale", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    created->set_pattern("%^%l%$ %m-%d %H:%M:%S.%e %v");
    created->flush_on(spdlog::level::info);
    return created;
  }();
  return *instance;
}

std::string& process_role() {
  static std::string role = "gale";
  return role;
}

LogFormat process_format = LogFormat::kText;

// "2026-11-27T10:20:30.123Z"
struct TimeText {
  char text[40];
  TimeText() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::time_t whole = std::chrono::duration_cast<std::chrono::seconds>(now).count();
    const auto part = std::chrono::duration_cast<std::chrono::milliseconds>(now).count() % 1000;
    std::tm parts{};
    gmtime_r(&whole, &parts);
    char seconds[32];
    std::strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(text, sizeof text, "%s.%03dZ", seconds, static_cast<int>(part));
  }
};

// A literal of at most that many bytes, cut at the end of a character.
void append_text(std::string& out, std::string_view text, size_t max_bytes) {
  const std::string clean = replace_invalid_utf8(text);
  std::string literal;
  append_json_string(literal, clean);
  for (size_t kept = std::min(clean.size(), max_bytes); literal.size() > max_bytes; kept = kept * 3 / 4) {
    const std::string_view part = std::string_view(clean).substr(0, kept);
    literal.clear();
    append_json_string(literal, std::string(part.substr(0, complete_utf8_prefix(part))) + "…");
  }
  out += literal;
}

void append_value(std::string& out, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) return append_text(out, *text, kMaxFieldBytes);
  if (const auto* whole = std::get_if<int64_t>(&field.value)) {
    fmt::format_to(std::back_inserter(out), "{}", *whole);
    return;
  }
  const double number = std::get<double>(field.value);
  if (std::isfinite(number))
    fmt::format_to(std::back_inserter(out), "{:.3f}", number);
  else
    out += "null";   // JSON has no word for it
}

}   // namespace

std::string json_log_line(LogLevel level, std::string_view text, const LogFields& fields) {
  std::string out = fmt::format(R"({{"time":"{}","level":"{}","role":"{}","pid":{},"message":)", TimeText().text,
                                name_of(level), process_role(), ::getpid());
  append_text(out, text, kMaxMessageBytes);
  for (const LogField& field : fields) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":)", field.name);
    append_value(out, field);
  }
  return out += '}';
}

void log_line(LogLevel level, std::string_view text, const LogFields& fields) {
  if (!is_logged(level)) return;
  if (process_format == LogFormat::kJson) return logger().log(to_spdlog(level), json_log_line(level, text, fields));
  logger().log(to_spdlog(level), "[{}] {}", process_role(), escape_control(text));
}

void say(LogLevel level, std::string_view text) {
  std::string line = process_format == LogFormat::kJson ? json_log_line(level, text, {}) : std::string(text);
  line += '\n';
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

void say_without_memory(const char* text) {
  if (process_format == LogFormat::kText) {
    std::fprintf(stderr, "%s\n", text);
  } else {
    std::fprintf(stderr, "{\"time\":\"%s\",\"level\":\"error\",\"role\":\"%s\",\"pid\":%d,\"message\":\"%s\"}\n",
                 TimeText().text, process_role().c_str(), static_cast<int>(::getpid()), text);
  }
}

void note_lost_line() noexcept { say_without_memory("a line of the log is missing: there was no memory for it"); }

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }

void set_log_format(LogFormat format) {
  process_format = format;
  if (format == LogFormat::kJson) logger().set_pattern("%v");
}

void set_log_role(std::string role) { process_role() = std::move(role); }

bool is_logged(LogLevel level) { return logger().should_log(to_spdlog(level)); }

std::string escape_control(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}   // namespace gale
