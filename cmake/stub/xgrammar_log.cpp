// xgrammar's log, kept off stderr: warnings of a thread go where it says, if it says.
#include "support/logging.h"

namespace gale {
thread_local std::string* xgrammar_warnings = nullptr;   // declared again where it is used, in src/grammar
}

namespace xgrammar {

void LogFatalImpl(const std::string& file, int line, const std::string& message) {
  throw LogFatalError(file, line, message);
}

void LogMessageImpl(const std::string&, int, int level, const std::string& message) {
  if (level >= XGRAMMAR_LOG_LEVEL_WARNING && gale::xgrammar_warnings != nullptr)
    gale::xgrammar_warnings->append(message).append("\n");
}

}  // namespace xgrammar
