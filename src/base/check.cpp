#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace gale {

void check_failed(std::string_view condition, const std::string& detail, const std::source_location& where) {
  const std::string line = fmt::format("CHECK failed: {} {}{}at {}:{} ({})\n", condition, detail,
                                       detail.empty() ? "" : " ", where.file_name(), where.line(), where.function_name());
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace gale
