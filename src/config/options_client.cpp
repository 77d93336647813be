#include "config/config.h"
#include "config/options.h"

namespace gale {
namespace {

constexpr CommandSet kBench = in(Command::kBenchServe);
constexpr CommandSet kChatCommand = in(Command::kChat);
constexpr OptionGroup kClient = OptionGroup::kClient;
constexpr OptionGroup kLoadTest = OptionGroup::kBench;

std::vector<Option> chat_options() {
  using C = ChatConfig;
  return {
      option<&Config::chat, &C::url>({.flag = "--url", .placeholder = "URL", .help = "The server's API.",
          .group = kClient, .commands = kChatCommand}),
      option<&Config::chat, &C::model_name>({.flag = "--model-name", .placeholder = "NAME",
          .help = "The model to ask for; none: the first that the server lists.", .group = kClient, .commands = kChatCommand}),
      option<&Config::chat, &C::api_key>({.flag = "--api-key", .placeholder = "KEY", .help = "Sent as bearer token.",
          .group = kClient, .commands = kChatCommand, .environment = "OPENAI_API_KEY"}),
      option<&Config::chat, &C::system_prompt>({.flag = "--system-prompt", .placeholder = "TEXT",
          .help = "A system message before the first turn.", .group = kClient, .commands = kChatCommand}),
      option<&Config::chat, &C::quick>({.flag = "--quick", .placeholder = "TEXT",
          .help = "Ask this, print the answer and leave.", .group = kClient, .commands = kChatCommand, .alias = "-q"}),
      option<&Config::chat, &C::max_tokens>({.flag = "--max-tokens", .placeholder = "N",
          .help = "Tokens an answer may have; auto: what the server gives.",
          .group = kClient, .commands = kChatCommand, .rules = at_least_or(1, "auto")}),
      option<&Config::chat, &C::temperature>({.flag = "--temperature", .placeholder = "T",
          .help = "Randomness of an answer, 0 for none; -1: the model's own.",
          .group = kClient, .commands = kChatCommand, .rules = range(-1, 2)}),
      option<&Config::chat, &C::think>({.flag = "--think", .help = "Let a thinking model think before it answers.",
          .group = kClient, .commands = kChatCommand}),
      option<&Config::chat, &C::wait_s>({.flag = "--wait", .placeholder = "SECONDS",
          .help = "How long to wait for a server that is still starting.",
          .group = kClient, .commands = kChatCommand, .rules = at_least(0)}),
      option<&Config::chat, &C::stats>({.flag = "--stats",
          .help = "After each answer: time to the first token, and tokens a second.", .group = kClient, .commands = kChatCommand}),
  };
}

std::vector<Option> load_options() {
  using B = BenchConfig;
  return {
      option<&Config::bench, &B::base_url>({.flag = "--base-url", .placeholder = "URL", .help = "The server, without /v1.",
          .group = kClient, .commands = kBench}),
      option<&Config::bench, &B::endpoint>({.flag = "--endpoint", .placeholder = "PATH", .help = "What is measured.",
          .group = kClient, .commands = kBench, .rules = one_of({"/v1/completions"})}),
      option<&Config::bench, &B::model>({.flag = "--model", .placeholder = "NAME",
          .help = "The model to ask for; none: the first that the server lists.", .group = kClient, .commands = kBench}),
      option<&Config::bench, &B::api_key>({.flag = "--api-key", .placeholder = "KEY", .help = "Sent as bearer token.",
          .group = kClient, .commands = kBench, .environment = "OPENAI_API_KEY"}),
      option<&Config::bench, &B::ready_timeout_s>({.flag = "--ready-check-timeout-sec", .placeholder = "SECONDS",
          .help = "How long to wait for a server that is still starting.",
          .group = kClient, .commands = kBench, .rules = at_least(0)}),
      option<&Config::bench, &B::num_prompts>({.flag = "--num-prompts", .placeholder = "N", .help = "Requests that count.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1)}),
      option<&Config::bench, &B::num_warmups>({.flag = "--num-warmups", .placeholder = "N",
          .help = "Requests before them that do not count.", .group = kLoadTest, .commands = kBench, .rules = at_least(0)}),
      option<&Config::bench, &B::max_concurrency>({.flag = "--max-concurrency", .placeholder = "N",
          .help = "Requests under way at once; a new one starts when one ends.",
          .group = kLoadTest, .commands = kBench, .rules = at_least_or(1, "none")}),
      option<&Config::bench, &B::request_rate>({.flag = "--request-rate", .placeholder = "R",
          .help = "Requests started a second, at random times (Poisson); inf: at once.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1e-6)}),
      option<&Config::bench, &B::random_input_len>({.flag = "--random-input-len", .placeholder = "N",
          .help = "Tokens of a prompt; they are random ids.", .group = kLoadTest, .commands = kBench, .rules = at_least(1)}),
      option<&Config::bench, &B::random_output_len>({.flag = "--random-output-len", .placeholder = "N",
          .help = "Tokens of an answer.", .group = kLoadTest, .commands = kBench, .rules = at_least(1)}),
      option<&Config::bench, &B::random_range_ratio>({.flag = "--random-range-ratio", .placeholder = "R",
          .help = "Lengths are drawn evenly from len * (1 - R) to len * (1 + R).",
          .group = kLoadTest, .commands = kBench, .rules = range(0, 0.999)}),
      option<&Config::bench, &B::vocab_size>({.flag = "--vocab-size", .placeholder = "N",
          .help = "Prompt ids are drawn below this; auto: a range that the server's tokenizer surely has.",
          .group = kLoadTest, .commands = kBench, .rules = at_least_or(2, "auto")}),
      option<&Config::bench, &B::ignore_eos>({.flag = "--ignore-eos", .help = "Answers run to their full length.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::temperature>({.flag = "--temperature", .placeholder = "T", .help = "Randomness, 0 for none.",
          .group = kLoadTest, .commands = kBench, .rules = range(0, 2)}),
      option<&Config::bench, &B::seed>({.flag = "--seed", .placeholder = "N", .help = "Of prompts, lengths and times.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::metric_percentiles>({.flag = "--metric-percentiles", .placeholder = "P",
          .help = "Which percentiles are printed.", .group = kLoadTest, .commands = kBench, .rules = range(1, 99)}),
      option<&Config::bench, &B::save_result>({.flag = "--save-result", .help = "Write the figures to a JSON file.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::save_detailed>({.flag = "--save-detailed", .help = "The file holds every request's figures, too.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::result_dir>({.flag = "--result-dir", .placeholder = "DIR", .help = "Where the file goes.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::result_filename>({.flag = "--result-filename", .placeholder = "NAME",
          .help = "Its name; none: made of label, rate, model and time.", .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::label>({.flag = "--label", .placeholder = "TEXT", .help = "Stands in the file and its name.",
          .group = kLoadTest, .commands = kBench}),
  };
}

}  // namespace

std::vector<Option> client_options() {
  std::vector<Option> out = chat_options();
  for (Option& option : load_options()) out.push_back(std::move(option));
  out.push_back(option<&Config::config_file>({.flag = "--config", .placeholder = "FILE",
      .help = "A TOML file with options; the command line counts before it.", .group = OptionGroup::kHelp,
      .commands = in(Command::kServe, Command::kUi, Command::kChat, Command::kBenchServe, Command::kInspect)}));
  return out;
}

}  // namespace gale
