#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace gale {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// kText: "LEVEL mm-dd hh:mm:ss [role] text". kJson: an object a line with "time" (UTC), "level", "role", "pid",
// "message" and the line's fields as typed values, of less than 4096 bytes, so that lines of several processes that
// share a pipe do not mix.
enum class LogFormat : uint8_t { kText, kJson };

// A fact of a line: JSON logs have it as a value of its own, text logs in their words only.
struct LogField {
  std::string_view name;   // a plain word
  std::variant<std::string_view, int64_t, double> value;
};
using LogFields = std::vector<LogField>;

// Lines go to stderr; control characters in the text are escaped, so that nothing a client sends can forge a line.
// Thread-safe. Prompts, keys and outputs are never logged.
void log_line(LogLevel level, std::string_view text, const LogFields& fields = {});
void note_lost_line() noexcept;          // there was no memory for it; nobody who logs fails for that
void set_log_level(LogLevel level);
// Both before there is a second thread.
void set_log_format(LogFormat format);
void set_log_role(std::string role);   // of the process: "front", "engine"
[[nodiscard]] bool is_logged(LogLevel level);

// What a program says to whoever started it: the text as it is where logs are text, else a line of the log.
void say(LogLevel level, std::string_view text);
// The same for a process without memory. `text` must need no escapes.
void say_without_memory(const char* text);

// Runs `tell`, which logs: without memory its line is lost, nothing else.
template <class Tell>
void log_if_possible(Tell&& tell) noexcept {
  try {
    tell();
  } catch (const std::bad_alloc&) {
    note_lost_line();
  }
}

template <class... Args>
void log_at(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  log_if_possible([&] {
    if (is_logged(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
  });
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kWarning, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::kError, format, std::forward<Args>(args)...);
}

// The text with control characters (and DEL) written as \n, \t, \xNN.
[[nodiscard]] std::string escape_control(std::string_view text);

// A line of a JSON log, without its end: what log_line writes.
[[nodiscard]] std::string json_log_line(LogLevel level, std::string_view text, const LogFields& fields);

}   // namespace gale
