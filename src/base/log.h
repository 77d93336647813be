#pragma once

#include <fmt/format.h>

#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace gale {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Lines go to stderr as "LEVEL mm-dd hh:mm:ss [name] text"; control characters in the text are escaped, so that
// nothing a client sends can forge a line. Thread-safe. Prompts, keys and outputs are never logged.
void log_line(LogLevel level, std::string_view text);
void note_lost_line() noexcept;        // there was no memory for it; nobody who logs fails for that
void set_log_level(LogLevel level);
void set_log_name(std::string name);   // the process: "front", "engine"
[[nodiscard]] bool is_logged(LogLevel level);

template <class... Args>
void log_at(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  try {
    if (is_logged(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
  } catch (const std::bad_alloc&) {
    note_lost_line();
  }
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

}  // namespace gale
