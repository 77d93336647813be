#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "request/messages.h"

namespace gale {

// Structural tags to serialised grammars (grammar/grammar.h), one at a time.
class GrammarCompiler {
 public:
  virtual ~GrammarCompiler() = default;
  // kInvalidArgument: the grammar is wrong, not supported or too expensive; kUnavailable: not the grammar's fault.
  [[nodiscard]] virtual Result<std::string> compile(const std::string& structural_tag) = 0;
};
using GrammarCompilerFactory = std::function<std::unique_ptr<GrammarCompiler>(std::shared_ptr<const Vocabulary>)>;

// Compilers that each run `command` as a process with limits on time and memory, because what a client sends may need
// any amount of both. It is started when first needed, and again after it broke off.
[[nodiscard]] GrammarCompilerFactory make_grammar_processes(std::vector<std::string> command);

// That process: reads a vocabulary from the socket, then structural tags, and answers each until the socket closes.
// Returns its exit code.
[[nodiscard]] int serve_grammar_compiler(int socket);

}  // namespace gale
