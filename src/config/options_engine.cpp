#include <array>

#include "config/config.h"
#include "config/options.h"

namespace gale {

template <>
struct EnumNames<KvCacheDType> {
  static constexpr std::array names = {std::pair{std::string_view("auto"), KvCacheDType::kAuto},
                                       std::pair{std::string_view("bfloat16"), KvCacheDType::kBF16},
                                       std::pair{std::string_view("bf16"), KvCacheDType::kBF16},
                                       std::pair{std::string_view("float32"), KvCacheDType::kF32},
                                       std::pair{std::string_view("fp8"), KvCacheDType::kF8E4M3},
                                       std::pair{std::string_view("fp8_e4m3"), KvCacheDType::kF8E4M3}};
};

template <>
struct EnumNames<DeviceChoice> {
  static constexpr std::array names = {std::pair{std::string_view("auto"), DeviceChoice::kAuto},
                                       std::pair{std::string_view("cpu"), DeviceChoice::kCpu},
                                       std::pair{std::string_view("cuda"), DeviceChoice::kCuda}};
};

template <>
struct EnumNames<Quantization> {
  static constexpr std::array names = {std::pair{std::string_view("none"), Quantization::kNone},
                                       std::pair{std::string_view("fp8"), Quantization::kFp8}};
};

template <>
struct EnumNames<LoadFormat> {
  static constexpr std::array names = {std::pair{std::string_view("auto"), LoadFormat::kAuto},
                                       std::pair{std::string_view("safetensors"), LoadFormat::kAuto},
                                       std::pair{std::string_view("dummy"), LoadFormat::kDummy},
                                       std::pair{std::string_view("dummy-zipf"), LoadFormat::kDummyZipf}};
};

namespace {

constexpr CommandSet kLoad = in(Command::kServe, Command::kEngine, Command::kInspect);

std::vector<Option> memory_options() {
  using enum OptionGroup;
  using S = SchedulerConfig;
  using E = EngineConfig;
  return {
      option<&Config::engine, &E::scheduler, &S::max_model_len>({.flag = "--max-model-len", .placeholder = "N",
          .help = "Tokens one sequence may have, prompt and output together; auto: what model and memory allow.",
          .group = kMemory, .commands = kLoad, .rules = at_least_or(1, "auto")}),
      option<&Config::engine, &E::scheduler, &S::block_size>({.flag = "--block-size", .placeholder = "N",
          .help = "Tokens in one block of the KV cache; auto: 16 on a CPU, 64 on a GPU.",
          .group = kMemory, .commands = kLoad, .rules = {.min = 1, .max = 1024, .zero_name = "auto"}}),
      option<&Config::engine, &E::scheduler, &S::num_blocks>({.flag = "--num-gpu-blocks-override", .placeholder = "N",
          .help = "Blocks of the KV cache; auto: what memory allows.",
          .group = kMemory, .commands = kLoad, .rules = at_least_or(1, "auto")}),
      option<&Config::engine, &E::scheduler, &S::enable_prefix_caching>({.flag = "--enable-prefix-caching",
          .help = "Keep finished blocks and find them again by their content, so that a shared prefix is computed "
                  "once.",
          .group = kMemory, .commands = kLoad}),
      option<&Config::engine, &E::gpu_memory_utilization>({.flag = "--gpu-memory-utilization", .placeholder = "SHARE",
          .help = "The share of each card's memory that gale takes; without effect on a CPU.",
          .group = kMemory, .commands = kLoad, .rules = range(0.05, 1)}),
      option<&Config::engine, &E::kv_cache_memory_bytes>({.flag = "--kv-cache-memory-bytes", .placeholder = "N",
          .help = "Memory of the KV cache; auto: on a CPU a quarter of what is free, at most 4 GiB.",
          .group = kMemory, .commands = kLoad, .rules = at_least_or(1 << 16, "auto")}),
      option<&Config::engine, &E::kv_cache_dtype>({.flag = "--kv-cache-dtype", .placeholder = "TYPE",
          .help = "Numbers in the KV cache; auto: float32 for a checkpoint in float32 on a CPU, else bfloat16; fp8 "
                  "(e4m3) needs a GPU.",
          .group = kMemory, .commands = kLoad}),
  };
}

std::vector<Option> kernel_options() {
  using enum OptionGroup;
  using E = EngineConfig;
  return {
      option<&Config::inspect, &InspectConfig::kernels>({.flag = "--kernels",
          .help = "List every operation with its implementations, and which kernel each product of the model takes.",
          .group = kModel, .commands = in(Command::kInspect)}),
      option<&Config::engine, &E::kernel_table>({.flag = "--kernel-table", .placeholder = "FILE",
          .help = "Which kernels of a GPU products take, as gale tune measured them; none: as this build knows for the "
                  "card; off: as the first heuristic says. Without effect on a CPU.",
          .group = kRuntime, .commands = kLoad}),
      option<&Config::tune, &TuneConfig::output>({.flag = "--output", .placeholder = "FILE",
          .help = "The table to write, or to add to if it is of this card and these kernels; none: one that is named "
                  "after the card, in this folder.",
          .group = kRuntime, .commands = in(Command::kTune)}),
      option<&Config::tune, &TuneConfig::seconds>({.flag = "--seconds", .placeholder = "N",
          .help = "How long to measure; what is left out then takes the first heuristic.",
          .group = kRuntime, .commands = in(Command::kTune), .rules = range(0, 86'400)}),
  };
}

std::vector<Option> scheduling_options() {
  using enum OptionGroup;
  using S = SchedulerConfig;
  using E = EngineConfig;
  return {
      option<&Config::engine, &E::scheduler, &S::max_num_seqs>({.flag = "--max-num-seqs", .placeholder = "N",
          .help = "Sequences that may run at once.",
          .group = kScheduling, .commands = kLoad, .rules = range(1, 1024)}),
      option<&Config::engine, &E::scheduler, &S::max_num_batched_tokens>({.flag = "--max-num-batched-tokens",
          .placeholder = "N",
          .help = "Tokens computed in one step, of prompts and outputs together.",
          .group = kScheduling, .commands = kLoad, .rules = range(1, 1 << 20)}),
      option<&Config::engine, &E::scheduler, &S::max_num_mixed_prefill_tokens>({
          .flag = "--max-num-mixed-prefill-tokens",
          .placeholder = "N",
          .help = "Prompt tokens of a step in which others' answers are written, too: fewer make the gaps in these "
                  "shorter; none: as many as --max-num-batched-tokens leaves.",
          .group = kScheduling,
          .commands = kLoad,
          .rules = {.min = 1, .max = 1 << 20, .zero_name = "none"}}),
      option<&Config::engine, &E::scheduler, &S::max_mixed_step_ms>({
          .flag = "--max-mixed-step-ms",
          .placeholder = "N",
          .help = "Milliseconds that a step may take in which prompts are read while others' answers are written: "
                  "prompts then get what is left, as learnt from the steps before, or as long as answers alone took at "
                  "most of late if that is more. auto: on a GPU 26, or 37 for a model with experts; no limit on a CPU.",
          .group = kScheduling,
          .commands = kLoad,
          .rules = {.min = 1, .max = 60'000, .zero_name = "auto"}}),
      option<&Config::engine, &E::scheduler, &S::layered_context>({
          .flag = "--layered-prefill-context",
          .placeholder = "N",
          .help = "Tokens of a prompt from which on it is read a few layers a step while others' answers are written: "
                  "pieces stay large enough to be efficient, and steps end in --max-mixed-step-ms all the same. auto: "
                  "8192 on a GPU, never on a CPU. More than --max-model-len: never.",
          .group = kScheduling,
          .commands = kLoad,
          .rules = {.min = 1, .max = 1 << 20, .zero_name = "auto"}}),
  };
}

}  // namespace

std::vector<Option> engine_options() {
  using enum OptionGroup;
  using E = EngineConfig;
  constexpr CommandSet kLoadOrTune = static_cast<CommandSet>(kLoad | in(Command::kTune));
  constexpr CommandSet kCompute = in(Command::kServe, Command::kEngine);
  std::vector<Option> out = {
      option<&Config::engine, &E::model_dir>({.flag = "--model", .placeholder = "MODEL",
          .help = "A folder with config.json, tokenizer.json and safetensors files, as Hugging Face lays them out; or "
                  "a name on the Hub, such as zai-org/GLM-4.7-Flash, which serve and download bring here.",
          .group = kModel,
          .commands = static_cast<CommandSet>(kLoad | in(Command::kDoctor, Command::kDownload, Command::kTune)),
          .is_positional = true}),
      option<&Config::inspect, &InspectConfig::tensors>({.flag = "--tensors",
          .help = "List every tensor: shape, type, file, and which part of the model takes it.",
          .group = kModel, .commands = in(Command::kInspect)}),
      option<&Config::engine, &E::device>({.flag = "--device", .placeholder = "DEVICE",
          .help = "What computes; auto: an NVIDIA GPU if this build and this machine have one, else the CPU.",
          .group = kRuntime, .commands = kLoadOrTune}),
      option<&Config::engine, &E::quantization>({.flag = "--quantization", .placeholder = "METHOD",
          .help = "fp8: linear layers and experts become e4m3 with a scale a row when they are loaded; needs a GPU.",
          .group = kModel, .commands = kLoadOrTune, .alias = "-q"}),
      option<&Config::engine, &E::load_format>({.flag = "--load-format", .placeholder = "FORMAT",
          .help = "dummy: seeded random weights, made on the device; only config.json and the tokenizer are read. For "
                  "measurements. dummy-zipf: the same with routers that prefer a few experts, by Zipf's law.",
          .group = kModel, .commands = kLoad}),
      option<&Config::engine, &E::num_threads>({.flag = "--num-threads", .placeholder = "N",
          .help = "Threads that compute on a CPU; auto: one a core.",
          .group = kRuntime, .commands = kCompute, .rules = {.min = 1, .max = 1024, .zero_name = "auto"}}),
      option<&Config::engine, &E::enforce_eager>({.flag = "--enforce-eager",
          .help = "Launch kernels one by one instead of as graphs; without effect on a CPU.",
          .group = kRuntime, .commands = kCompute}),
      option<&Config::engine, &E::script_file>({.flag = "--scripted", .placeholder = "FILE",
          .help = "Follow this script instead of computing the model: for tests.",
          .group = kRuntime, .commands = kCompute}),
      option<&Config::engine, &E::num_valid_tokens>({.flag = "--num-valid-tokens", .placeholder = "N",
          .help = "Ids from here on have no text and are never drawn; auto: all may be.",
          .group = kRuntime, .commands = in(Command::kEngine), .rules = at_least_or(1, "auto")}),
      option<&Config::engine_process, &EngineProcessConfig::channel_fd>({.flag = "--channel-fd", .placeholder = "N",
          .help = "The inherited socket to the front.",
          .group = kRuntime, .commands = in(Command::kEngine), .rules = range(0, 1 << 20)}),
      option<&Config::engine_process, &EngineProcessConfig::freed_later_bytes>({.flag = "--freed-later-bytes",
          .placeholder = "N",
          .help = "Memory of the device that a running server gives back if it leaves; without room the engine says "
                  "whether that would be enough.",
          .group = kRuntime, .commands = in(Command::kEngine), .rules = at_least_or(1, "none")}),
      option<&Config::engine_process, &EngineProcessConfig::only_looks>({.flag = "--only-look",
          .help = "Load nothing: say whether there is memory with --freed-later-bytes, and end.",
          .group = kRuntime, .commands = in(Command::kEngine)}),
  };
  for (Option& option : scheduling_options()) out.push_back(std::move(option));
  for (Option& option : kernel_options()) out.push_back(std::move(option));
  for (Option& option : memory_options()) out.push_back(std::move(option));
  return out;
}

}  // namespace gale
