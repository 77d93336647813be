#include "app/app.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
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
    case Command::kTune: return run_tune(config);
    case Command::kDownload: return run_download(config);
    case Command::kDoctor: return run_doctor(config);
    case Command::kGrammarCompiler: return serve_grammar_compiler(kChildSocketFd);
  }
  CHECK(false, "command {}", static_cast<int>(invocation.command));
}

// Who speaks in the log of a server; others are programs for people.
std::optional<std::string> role_of(std::string_view command) {
  if (command == "serve") return "front";
  if (command == "engine" || command == "ui") return std::string(command);
  if (command == "grammar-compiler") return "grammar";
  return std::nullopt;
}

int run_within_memory(const std::string& program, const std::vector<std::string>& arguments) {
  std::signal(SIGPIPE, SIG_IGN);       // a reader that left is an error of write, not the end of the process
  const Environment environment = process_environment();
  const std::optional<std::string> role = role_of(arguments.empty() ? "" : arguments.front());
  if (role) {
    set_log_role(*role);
    set_log_format(wanted_log_format(arguments, environment));
  }
  const Result<Invocation> invocation = read_command_line(arguments, environment);
  if (!invocation) return report(invocation.error());
  if (invocation->text) {
    fmt::print("{}", *invocation->text);
    return 0;
  }
  if (role) {
    set_log_format(invocation->config.log_format);
    set_log_level(invocation->config.log_level);
  }
  // The options of the others were noted by the front that started them.
  const bool shows_notes =
      invocation->command != Command::kEngine && invocation->command != Command::kGrammarCompiler;
  for (const std::string& note : invocation->notes) {
    if (shows_notes) say(LogLevel::kWarning, "gale: note: " + note);
  }
  return run_command(*invocation, program);
}

// An exception that nobody takes is our mistake: it ends the process with a line of its log.
[[noreturn]] void end_by_exception() {
  std::string what = "of an unknown kind";
  try {
    if (const std::exception_ptr thrown = std::current_exception()) std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    say_without_memory("gale: cannot go on: a thread has no memory left");
    std::_Exit(kExitMemory);
  } catch (const std::exception& exception) {
    what = exception.what();
  } catch (...) {                      // nothing is known of it
  }
  say(LogLevel::kError, "gale: an exception was not expected: " + escape_control(what));
  std::abort();
}

}  // namespace

// What runs out of memory where nothing but the whole is left to give up.
int run_program(const std::string& program, const std::vector<std::string>& arguments) {
  std::set_terminate(end_by_exception);
  let_allocations_fail();
  try {
    return run_within_memory(program, arguments);
  } catch (const std::bad_alloc&) {
    say_without_memory("gale: cannot go on: the machine has no memory left for this process");
    return kExitMemory;
  }
}

}  // namespace gale
