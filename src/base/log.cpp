#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>

namespace gale {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
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

std::string& process_name() {
  static std::string name = "gale";
  return name;
}

}  // namespace

void log_line(LogLevel level, std::string_view text) {
  logger().log(to_spdlog(level), "[{}] {}", process_name(), escape_control(text));
}

void note_lost_line() noexcept {
  std::fputs("gale: a line of the log is missing: there was no memory for it\n", stderr);
}

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }

void set_log_name(std::string name) { process_name() = std::move(name); }

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

}  // namespace gale
