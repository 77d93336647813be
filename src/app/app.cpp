#include "app/app.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/check.h"
#include "config/command_line.h"
#include "serving/child_process.h"
#include "serving/grammar_compiler.h"

namespace gale {
namespace {

int run_command(const Invocation& invocation, const std::string& program) {
  const Config& config = invocation.config;
  switch (invocation.command) {
    case Command::kServe: return run_serve(config, program);
    case Command::kEngine: return run_engine_process(config);
    case Command::kUi: return run_ui(config);
    case Command::kService: return run_service(config);
    case Command::kChat: return run_chat(config);
    case Command::kBenchServe: return run_bench(config);
    case Command::kBenchThroughput: return run_bench_throughput(config);
    case Command::kBenchLatency: return run_bench_latency(config);
    case Command::kInspect: return run_inspect(config);
    case Command::kDoctor: return run_doctor(config);
  }
  CHECK(false, "command {}", static_cast<int>(invocation.command));
}

int run_within_memory(const std::string& program, const std::vector<std::string>& arguments) {
  if (arguments == std::vector<std::string>{kGrammarCompilerCommand}) return serve_grammar_compiler(kChildSocketFd);
  std::signal(SIGPIPE, SIG_IGN);       // a reader that left is an error of write, not the end of the process
  const Result<Invocation> invocation = read_command_line(arguments, process_environment());
  if (!invocation) return report(invocation.error());
  if (invocation->text) {
    fmt::print("{}", *invocation->text);
    return 0;
  }
  // The engine's options were noted by the front that started it.
  const bool shows_notes = invocation->command != Command::kEngine;
  for (const std::string& note : invocation->notes) {
    if (shows_notes) fmt::print(stderr, "gale: note: {}\n", note);
  }
  return run_command(*invocation, program);
}

}  // namespace

// What runs out of memory where nothing but the whole is left to give up.
int run_program(const std::string& program, const std::vector<std::string>& arguments) {
  try {
    return run_within_memory(program, arguments);
  } catch (const std::bad_alloc&) {
    std::fputs("gale: cannot go on: the machine has no memory left for this process\n", stderr);
    return kExitMemory;
  }
}

}  // namespace gale
