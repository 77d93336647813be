// The command line, and the file of --config.
#include <algorithm>
#include <string>
#include <vector>

#include "base/temp_folder_testing.h"
#include "config/command_line.h"
#include "fuzz_targets.h"
#include "memory_folder.h"

namespace gale {
namespace {

// What an engine process is told is what was understood.
void check_trip(const Result<Invocation>& invocation) {
  if (!invocation) return fuzz_check_message(invocation.error().message);
  if (invocation->text || invocation->command != Command::kServe) return;
  const std::vector<std::string> flags = arguments_for(Command::kEngine, invocation->config);
  std::vector<std::string> arguments = {"engine"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  const Result<Invocation> again = read_command_line(arguments, {});
  fuzz_check(again.has_value(), "arguments_for makes arguments that are accepted");
  fuzz_check(arguments_for(Command::kEngine, again->config) == flags, "and that mean the same");
}

}  // namespace

// One argument a line.
void fuzz_command_line(std::string_view input) {
  std::vector<std::string> arguments;
  for (size_t at = 0; at <= input.size();) {
    const size_t end = std::min(input.find('\n', at), input.size());
    arguments.emplace_back(input.substr(at, end - at));
    at = end + 1;
  }
  for (const std::string& argument : arguments) {
    if (argument.starts_with("--config") || argument.find('\0') != std::string::npos) return;   // reads other files
  }
  check_trip(read_command_line(arguments, {}));
}

void fuzz_config_file(std::string_view input) {
  static const TempFolder folder(memory_folder());
  const std::vector<std::string> arguments = {"serve", "m", "--config", folder.write("gale.toml", input)};
  const Result<Invocation> invocation = read_command_line(arguments, {});
  if (!invocation) fuzz_check_message(invocation.error().message);
}

}  // namespace gale
