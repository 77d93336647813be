#include "config/client_tls_options.h"
#include "config/config.h"
#include "config/options.h"

namespace gale {
namespace {

constexpr CommandSet kChatCommand = in(Command::kChat);
constexpr OptionGroup kClient = OptionGroup::kClient;

std::vector<Option> chat_options() {
  using C = ChatConfig;
  return {
      option<&Config::chat, &C::url>({.flag = "--url",
                                      .placeholder = "URL",
                                      .help = "The server's API; an address without a path means its /v1.",
                                      .group = kClient,
                                      .commands = kChatCommand}),
      option<&Config::chat, &C::model_name>({.flag = "--model-name",
                                             .placeholder = "NAME",
                                             .help = "The model to ask for; none: the first that the server lists.",
                                             .group = kClient,
                                             .commands = kChatCommand}),
      option<&Config::chat, &C::api_key>({.flag = "--api-key",
                                          .placeholder = "KEY",
                                          .help = "Sent as bearer token.",
                                          .group = kClient,
                                          .commands = kChatCommand,
                                          .environment = "OPENAI_API_KEY"}),
      option<&Config::chat, &C::system_prompt>({.flag = "--system-prompt",
                                                .placeholder = "TEXT",
                                                .help = "A system message before the first turn.",
                                                .group = kClient,
                                                .commands = kChatCommand}),
      option<&Config::chat, &C::quick>({.flag = "--quick",
                                        .placeholder = "TEXT",
                                        .help = "Ask this, print the answer and leave.",
                                        .group = kClient,
                                        .commands = kChatCommand,
                                        .alias = "-q"}),
      option<&Config::chat, &C::max_tokens>({.flag = "--max-tokens",
                                             .placeholder = "N",
                                             .help = "Tokens an answer may have; auto: what the server gives.",
                                             .group = kClient,
                                             .commands = kChatCommand,
                                             .rules = at_least_or(1, "auto")}),
      option<&Config::chat, &C::temperature>({.flag = "--temperature",
                                              .placeholder = "T",
                                              .help = "Randomness of an answer, 0 for none; -1: the model's own.",
                                              .group = kClient,
                                              .commands = kChatCommand,
                                              .rules = range(-1, 2)}),
      option<&Config::chat, &C::think>({.flag = "--think",
                                        .help = "Let a thinking model think before it answers.",
                                        .group = kClient,
                                        .commands = kChatCommand}),
      option<&Config::chat, &C::wait_s>({.flag = "--wait",
                                         .placeholder = "SECONDS",
                                         .help = "How long to wait for a server that is still starting.",
                                         .group = kClient,
                                         .commands = kChatCommand,
                                         .rules = at_least(0)}),
      option<&Config::chat, &C::stats>({.flag = "--stats",
                                        .help = "After each answer: time to the first token, and tokens a second.",
                                        .group = kClient,
                                        .commands = kChatCommand}),
  };
}

std::vector<Option> doctor_options() {
  using D = DoctorConfig;
  constexpr CommandSet kDoctor = in(Command::kDoctor);
  return {
      option<&Config::doctor, &D::url>({.flag = "--url",
                                        .placeholder = "URL",
                                        .help = "The server that is asked who holds its memory.",
                                        .group = kClient,
                                        .commands = kDoctor}),
      option<&Config::doctor, &D::api_key>({.flag = "--api-key",
                                            .placeholder = "KEY",
                                            .help = "Sent to it as bearer token.",
                                            .group = kClient,
                                            .commands = kDoctor,
                                            .environment = "VLLM_API_KEY"}),
      option<&Config::doctor, &D::ui_port>({.flag = "--ui-port",
                                            .placeholder = "N",
                                            .help = "The port of the page.",
                                            .group = kClient,
                                            .commands = kDoctor,
                                            .rules = range(1, 65535)}),
      option<&Config::doctor, &D::folder>({.flag = "--folder",
                                           .placeholder = "DIR",
                                           .help = "Where gale service keeps supervisor's files and logs.",
                                           .group = kClient,
                                           .commands = kDoctor}),
      option<&Config::doctor, &D::bundle>({.flag = "--bundle",
                                           .placeholder = "FILE",
                                           .help = "Write a support archive (tar.gz): findings, settings, metrics and "
                                                   "the end of the logs, without keys, passwords and prompts.",
                                           .group = kClient,
                                           .commands = kDoctor}),
      option<&Config::doctor, &D::logs>({.flag = "--log-file",
                                         .placeholder = "FILE",
                                         .help = "A further log for the archive.",
                                         .group = kClient,
                                         .commands = kDoctor}),
  };
}

}  // namespace

std::vector<Option> client_options() {
  std::vector<Option> out = chat_options();
  for (Option& option : doctor_options()) out.push_back(std::move(option));
  for (Option& option : client_tls_options<&Config::chat, &ChatConfig::tls>(kChatCommand)) {
    out.push_back(std::move(option));
  }
  for (Option& option : client_tls_options<&Config::doctor, &DoctorConfig::tls>(in(Command::kDoctor))) {
    out.push_back(std::move(option));
  }
  out.push_back(option<&Config::config_file>(
      {.flag = "--config",
       .placeholder = "FILE",
       .help = "A TOML file with options; the command line counts before it.",
       .group = OptionGroup::kHelp,
       .commands = in(Command::kServe, Command::kUi, Command::kChat, Command::kBenchServe, Command::kBenchThroughput,
                      Command::kBenchLatency, Command::kInspect, Command::kTune, Command::kDoctor,
                      Command::kDownload)}));
  return out;
}

}  // namespace gale
