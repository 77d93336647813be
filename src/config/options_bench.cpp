#include "config/client_tls_options.h"
#include "config/config.h"
#include "config/options.h"

namespace gale {
namespace {

constexpr CommandSet kBench = in(Command::kBenchServe);
constexpr CommandSet kMany = in(Command::kBenchServe, Command::kBenchThroughput);
constexpr CommandSet kAll = in(Command::kBenchServe, Command::kBenchThroughput, Command::kBenchLatency);
constexpr OptionGroup kClient = OptionGroup::kClient;
constexpr OptionGroup kLoadTest = OptionGroup::kBench;

std::vector<Option> load_options() {
  using B = BenchConfig;
  return {
      option<&Config::bench, &B::base_url>({.flag = "--base-url", .placeholder = "URL",
          .help = "The server, without /v1.",
          .group = kClient, .commands = kAll}),
      option<&Config::bench, &B::host>({.flag = "--host", .placeholder = "HOST",
          .help = "The server's host, in place of --base-url; none: as that says.",
          .group = kClient, .commands = kAll}),
      option<&Config::bench, &B::port>({.flag = "--port", .placeholder = "N",
          .help = "The server's port, in place of that of --base-url; none: as that says.",
          .group = kClient, .commands = kAll, .rules = at_least_or(1, "none")}),
      option<&Config::bench, &B::endpoint>({.flag = "--endpoint", .placeholder = "PATH",
          .help = "What is asked; none: what the backend says.",
          .group = kClient, .commands = kAll}),
      option<&Config::bench, &B::model>({.flag = "--model", .placeholder = "NAME",
          .help = "The model to ask for; none: the first that the server lists.", .group = kClient, .commands = kAll}),
      option<&Config::bench, &B::api_key>({.flag = "--api-key", .placeholder = "KEY", .help = "Sent as bearer token.",
          .group = kClient, .commands = kAll, .environment = "OPENAI_API_KEY"}),
      option<&Config::bench, &B::ready_timeout_s>({.flag = "--ready-check-timeout-sec", .placeholder = "SECONDS",
          .help = "How long to wait for a server that is still starting.",
          .group = kClient, .commands = kAll, .rules = at_least(0)}),
      option<&Config::bench, &B::num_prompts>({.flag = "--num-prompts", .placeholder = "N",
          .help = "Requests that count.",
          .group = kLoadTest, .commands = kMany, .rules = at_least(1)}),
      option<&Config::bench, &B::num_warmups>({.flag = "--num-warmups", .placeholder = "N",
          .help = "Requests before them that do not count.", .group = kLoadTest, .commands = kMany,
          .rules = at_least(0)}),
      option<&Config::bench, &B::max_concurrency>({.flag = "--max-concurrency", .placeholder = "N",
          .help = "Requests under way at once; a new one starts when one ends.",
          .group = kLoadTest, .commands = kMany, .rules = at_least_or(1, "none")}),
      option<&Config::bench, &B::request_rate>({.flag = "--request-rate", .placeholder = "R",
          .help = "Requests started a second, at random times; inf: at once.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1e-6)}),
      option<&Config::bench, &B::random_input_len>({.flag = "--random-input-len", .placeholder = "N",
          .help = "Tokens of a prompt; they are random ids.", .group = kLoadTest, .commands = kMany,
          .rules = at_least(1)}),
      option<&Config::bench, &B::random_output_len>({.flag = "--random-output-len", .placeholder = "N",
          .help = "Tokens of an answer.", .group = kLoadTest, .commands = kMany, .rules = at_least(1)}),
      option<&Config::bench, &B::random_range_ratio>({.flag = "--random-range-ratio", .placeholder = "R",
          .help = "Lengths are drawn evenly from len * (1 - R) to len * (1 + R).",
          .group = kLoadTest, .commands = kAll, .rules = range(0, 0.999)}),
      option<&Config::bench, &B::vocab_size>({.flag = "--vocab-size", .placeholder = "N",
          .help = "Prompt ids are drawn below this; auto: a range that the server's tokenizer surely has.",
          .group = kLoadTest, .commands = kAll, .rules = at_least_or(2, "auto")}),
      option<&Config::bench, &B::ignore_eos>({.flag = "--ignore-eos", .help = "Answers run to their full length.",
          .group = kLoadTest, .commands = kAll}),
      option<&Config::bench, &B::temperature>({.flag = "--temperature", .placeholder = "T",
          .help = "Randomness, 0 for none.",
          .group = kLoadTest, .commands = kAll, .rules = range(0, 2)}),
      option<&Config::bench, &B::seed>({.flag = "--seed", .placeholder = "N", .help = "Of prompts, lengths and times.",
          .group = kLoadTest, .commands = kAll}),
      option<&Config::bench, &B::metric_percentiles>({.flag = "--metric-percentiles", .placeholder = "P",
          .help = "Which percentiles are printed.", .group = kLoadTest, .commands = kBench, .rules = range(1, 99)}),
      option<&Config::bench, &B::save_result>({.flag = "--save-result", .help = "Write the figures to a JSON file.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::save_detailed>({.flag = "--save-detailed",
          .help = "The file holds every request's figures, too.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::result_dir>({.flag = "--result-dir", .placeholder = "DIR",
          .help = "Where the file goes.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::result_filename>({.flag = "--result-filename", .placeholder = "NAME",
          .help = "Its name; none: made of label, rate, model and time.", .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::label>({.flag = "--label", .placeholder = "TEXT",
          .help = "Stands in the file and its name.",
          .group = kLoadTest, .commands = kBench}),
  };
}

std::vector<Option> arrival_options() {
  using B = BenchConfig;
  return {
      option<&Config::bench, &B::burstiness>({.flag = "--burstiness", .placeholder = "SHAPE",
          .help = "Of the pauses between requests (gamma distributed): 1 is Poisson, less is burstier, more is more "
                  "even.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1e-3)}),
      option<&Config::bench, &B::ramp_up_strategy>({.flag = "--ramp-up-strategy", .placeholder = "HOW",
          .help = "How the rate grows over the run, instead of --request-rate.", .group = kLoadTest, .commands = kBench,
          .rules = one_of({"none", "linear", "exponential"})}),
      option<&Config::bench, &B::ramp_up_start_rps>({.flag = "--ramp-up-start-rps", .placeholder = "R",
          .help = "The rate at the start.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1e-6)}),
      option<&Config::bench, &B::ramp_up_end_rps>({.flag = "--ramp-up-end-rps", .placeholder = "R",
          .help = "The rate at the end.",
          .group = kLoadTest, .commands = kBench, .rules = at_least(1e-6)}),
      option<&Config::bench, &B::goodput>({.flag = "--goodput", .placeholder = "NAME:MS",
          .help = "What a request must keep to count as good: ttft:200, tpot:30, e2el:5000.", .group = kLoadTest,
          .commands = kBench}),
      option<&Config::bench, &B::percentile_metrics>({.flag = "--percentile-metrics", .placeholder = "NAME",
          .help = "Which sections are printed: ttft, tpot, itl, e2el.", .group = kLoadTest, .commands = kBench,
          .rules = one_of({"ttft", "tpot", "itl", "e2el"})}),
      option<&Config::bench, &B::sweep>({.flag = "--sweep", .placeholder = "N",
          .help = "A run for each of these concurrencies, then a table of all.", .group = kLoadTest,
          .commands = kBench, .rules = range(1, 4096)}),
      option<&Config::bench, &B::sweep_plot>({.flag = "--sweep-plot", .placeholder = "FILE",
          .help = "A plot of the sweep, as SVG.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::append_result>({.flag = "--append-result",
          .help = "Add the figures to the list in --result-filename.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::metadata>({.flag = "--metadata", .placeholder = "KEY=VALUE",
          .help = "Stands in the file.",
          .group = kLoadTest, .commands = kBench}),
      option<&Config::bench, &B::shows_progress>({.flag = "--progress", .help = "On a terminal, show how far a run is.",
          .group = kLoadTest, .commands = kMany}),
  };
}

std::vector<Option> dataset_options() {
  using B = BenchConfig;
  return {
      option<&Config::bench, &B::backend>({.flag = "--backend", .placeholder = "NAME",
          .help = "Completions, or (…-chat) chats.",
          .group = kLoadTest, .commands = kAll, .rules = one_of({"openai", "vllm", "openai-chat", "vllm-chat"})}),
      option<&Config::bench, &B::dataset_name>({.flag = "--dataset-name", .placeholder = "NAME",
          .help = "Random token ids; such that share prefixes; conversations of a file; a line a prompt of a file.",
          .group = kLoadTest, .commands = kMany,
          .rules = one_of({"random", "prefix_repetition", "sharegpt", "custom"})}),
      option<&Config::bench, &B::dataset_path>({.flag = "--dataset-path", .placeholder = "FILE",
          .help = "Of sharegpt: its JSON. Of custom: JSON lines, {\"prompt\": …} each, with \"output_tokens\" if you "
                  "like.",
          .group = kLoadTest, .commands = kMany}),
      option<&Config::bench, &B::random_prefix_len>({.flag = "--random-prefix-len", .placeholder = "N",
          .help = "Tokens that all random prompts share, in front.", .group = kLoadTest, .commands = kMany,
          .rules = at_least(0)}),
      option<&Config::bench, &B::num_prefixes>({.flag = "--prefix-repetition-num-prefixes", .placeholder = "N",
          .help = "Groups of prompts that begin alike.",
          .group = kLoadTest, .commands = kMany, .rules = at_least(1)}),
      option<&Config::bench, &B::prefix_len>({.flag = "--prefix-repetition-prefix-len", .placeholder = "N",
          .help = "Tokens that they share.",
          .group = kLoadTest, .commands = kMany, .rules = at_least(1)}),
      option<&Config::bench, &B::suffix_len>({.flag = "--prefix-repetition-suffix-len", .placeholder = "N",
          .help = "Tokens that they do not.",
          .group = kLoadTest, .commands = kMany, .rules = at_least(1)}),
      option<&Config::bench, &B::top_p>({.flag = "--top-p", .placeholder = "P", .help = "Of each request.",
          .group = kLoadTest, .commands = kAll, .rules = range(1e-6, 1)}),
      option<&Config::bench, &B::top_k>({.flag = "--top-k", .placeholder = "K", .help = "Of each request; 0: all.",
          .group = kLoadTest, .commands = kAll, .rules = at_least(0)}),
      option<&Config::bench, &B::min_p>({.flag = "--min-p", .placeholder = "P", .help = "Of each request.",
          .group = kLoadTest, .commands = kAll, .rules = range(0, 1)}),
      option<&Config::bench, &B::frequency_penalty>({.flag = "--frequency-penalty", .placeholder = "P",
          .help = "Of each request.", .group = kLoadTest, .commands = kAll, .rules = range(-2, 2)}),
      option<&Config::bench, &B::presence_penalty>({.flag = "--presence-penalty", .placeholder = "P",
          .help = "Of each request.", .group = kLoadTest, .commands = kAll, .rules = range(-2, 2)}),
      option<&Config::bench, &B::repetition_penalty>({.flag = "--repetition-penalty", .placeholder = "P",
          .help = "Of each request; 1: none.", .group = kLoadTest, .commands = kAll, .rules = range(1e-6, 100)}),
      option<&Config::bench, &B::extra_body>({.flag = "--extra-body", .placeholder = "JSON",
          .help = "Further fields of each request.",
          .group = kLoadTest, .commands = kAll}),
  };
}

std::vector<Option> latency_options() {
  using L = LatencyConfig;
  constexpr CommandSet kLatency = in(Command::kBenchLatency);
  return {
      option<&Config::latency, &L::input_len>({.flag = "--input-len", .placeholder = "N", .help = "Tokens of a prompt.",
          .group = kLoadTest, .commands = kLatency, .rules = at_least(1)}),
      option<&Config::latency, &L::output_len>({.flag = "--output-len", .placeholder = "N",
          .help = "Tokens of an answer.",
          .group = kLoadTest, .commands = kLatency, .rules = at_least(1)}),
      option<&Config::latency, &L::batch_size>({.flag = "--batch-size", .placeholder = "N", .help = "Requests at once.",
          .group = kLoadTest, .commands = kLatency, .rules = range(1, 4096)}),
      option<&Config::latency, &L::num_warmup_iterations>({.flag = "--num-iters-warmup", .placeholder = "N",
          .help = "Batches that do not count.",
          .group = kLoadTest, .commands = kLatency, .rules = at_least(0)}),
      option<&Config::latency, &L::num_iterations>({.flag = "--num-iters", .placeholder = "N",
          .help = "Batches that count.",
          .group = kLoadTest, .commands = kLatency, .rules = at_least(1)}),
      option<&Config::latency, &L::output_json>({.flag = "--output-json", .placeholder = "FILE",
          .help = "Write the figures there.",
          .group = kLoadTest, .commands = in(Command::kBenchLatency, Command::kBenchThroughput)}),
  };
}

}  // namespace

std::vector<Option> bench_options() {
  std::vector<Option> out = load_options();
  for (auto options : {&arrival_options, &dataset_options, &latency_options}) {
    for (Option& option : options()) out.push_back(std::move(option));
  }
  for (Option& option : client_tls_options<&Config::bench, &BenchConfig::tls>(kAll)) out.push_back(std::move(option));
  return out;
}

}  // namespace gale
