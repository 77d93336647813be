#include "base/check.h"

#include <cstdlib>
#include <mutex>
#include <utility>

#include "base/last_words.h"
#include "base/log.h"

namespace gale {
namespace {

std::mutex last_words_mutex;
LastWords last_words;

}  // namespace

void set_last_words(LastWords words) {
  const std::lock_guard lock(last_words_mutex);
  last_words = std::move(words);
}

void check_failed(std::string_view condition, const std::string& detail, const std::source_location& where) {
  const std::string line =
      fmt::format("CHECK failed: {} {}{}at {}:{} ({})", condition, detail, detail.empty() ? "" : " ",
                  where.file_name(), where.line(), where.function_name());
  say(LogLevel::kError, line);
  LastWords words;
  {
    const std::lock_guard lock(last_words_mutex);
    words = std::exchange(last_words, {});
  }
  if (words) words(line);
  std::abort();
}

}  // namespace gale
