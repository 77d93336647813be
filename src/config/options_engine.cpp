#include "config/config.h"
#include "config/options.h"

namespace gale {

std::vector<Option> engine_options() {
  using enum OptionGroup;
  constexpr CommandSet kLoad = in(Command::kServe, Command::kEngine, Command::kInspect);
  return {
      option<&Config::model>({.flag = "--model", .placeholder = "MODEL",
          .help = "A folder with config.json, tokenizer.json and safetensors files, as Hugging Face lays them out.",
          .group = kModel, .commands = static_cast<CommandSet>(kLoad | in(Command::kDoctor)), .is_positional = true}),
      option<&Config::scheduler, &SchedulerConfig::max_model_len>({.flag = "--max-model-len", .placeholder = "N",
          .help = "Tokens one sequence may have, prompt and output together; auto: what model and memory allow.",
          .group = kMemory, .commands = kLoad, .rules = at_least_or(1, "auto")}),
      option<&Config::scheduler, &SchedulerConfig::block_size>({.flag = "--block-size", .placeholder = "N",
          .help = "Tokens in one block of the KV cache; auto: 16 on a CPU.",
          .group = kMemory, .commands = kLoad, .rules = {.min = 1, .max = 1024, .zero_name = "auto"}}),
      option<&Config::scheduler, &SchedulerConfig::num_blocks>({.flag = "--num-gpu-blocks-override", .placeholder = "N",
          .help = "Blocks of the KV cache; auto: what memory allows.",
          .group = kMemory, .commands = kLoad, .rules = at_least_or(1, "auto")}),
      option<&Config::scheduler, &SchedulerConfig::enable_prefix_caching>({.flag = "--enable-prefix-caching",
          .help = "Keep finished blocks and find them again by their content, so that a shared prefix is computed once.",
          .group = kMemory, .commands = kLoad}),
      option<&Config::scheduler, &SchedulerConfig::max_num_seqs>({.flag = "--max-num-seqs", .placeholder = "N",
          .help = "Sequences that may run at once.",
          .group = kScheduling, .commands = kLoad, .rules = range(1, 1024)}),
      option<&Config::scheduler, &SchedulerConfig::max_num_batched_tokens>({.flag = "--max-num-batched-tokens", .placeholder = "N",
          .help = "Tokens computed in one step, of prompts and outputs together.",
          .group = kScheduling, .commands = kLoad, .rules = range(1, 1 << 20)}),
      option<&Config::engine_process, &EngineProcessConfig::channel_fd>({.flag = "--channel-fd", .placeholder = "N",
          .help = "The inherited socket to the front.",
          .group = kRuntime, .commands = in(Command::kEngine), .rules = range(0, 1 << 20)}),
      option<&Config::engine_process, &EngineProcessConfig::scripted>({.flag = "--scripted", .placeholder = "FILE",
          .help = "Follow this script instead of computing a model: for tests.",
          .group = kRuntime, .commands = in(Command::kServe, Command::kEngine)}),
      option<&Config::inspect, &InspectConfig::tensors>({.flag = "--tensors",
          .help = "List every tensor: shape, type, file, and which part of the model takes it.",
          .group = kModel, .commands = in(Command::kInspect)}),
      option<&Config::inspect, &InspectConfig::kernels>({.flag = "--kernels",
          .help = "List every operation with its implementations, best first.",
          .group = kModel, .commands = in(Command::kInspect)}),
  };
}

}  // namespace gale
