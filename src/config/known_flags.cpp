#include "config/known_flags.h"

#include <utility>

namespace gale {
namespace {

constexpr auto kNoted = KnownFlag::Kind::kNoted;
constexpr auto kMeans = KnownFlag::Kind::kMeans;
constexpr auto kRefused = KnownFlag::Kind::kRefused;

// The names are vLLM's, as people type them.
std::vector<KnownFlag> accepted_flags() {
  return {
      {"--trust-remote-code", "", false, kNoted, "gale never runs code from a checkpoint"},
      {"--enable-auto-tool-choice", "", false, kNoted, "tool calls are parsed whenever a request brings tools"},
      {"--tool-call-parser", "", true, kNoted, "the tool dialect is read from the model's own tokens"},
      {"--reasoning-parser", "", true, kNoted, "thinking is found by the model's own tokens"},
      {"--enable-reasoning", "", false, kNoted, "thinking is found by the model's own tokens"},
      {"--tokenizer-mode", "", true, kNoted, "there is one tokenizer"},
      {"--config-format", "", true, kNoted, "checkpoints are read in Hugging Face's layout"},
      {"--prefix-caching-hash-algo", "", true, kNoted, "blocks are hashed with SHA-256"},
      {"--cudagraph-capture-sizes", "", true, kNoted, "a graph is captured for each batch size up to --max-num-seqs"},
      {"--compilation-config", "-O", true, kNoted, "kernels are compiled ahead, not at start"},
      {"--enable-expert-parallel", "-ep", false, kNoted, "with one device all experts are on it"},
      {"--async-scheduling", "", false, kNoted, "on a GPU a step is always prepared while the one before computes"},
      {"--chat-template-content-format", "", true, kNoted,
       "message parts are brought into the form that the template expects"},
      {"--enable-force-include-usage", "", false, kNoted, "ask with stream_options.include_usage"},
      {"--enable-prompt-tokens-details", "", false, kNoted, "prompt_tokens_details are always sent"},
      {"--enable-request-id-headers", "", false, kNoted, "X-Request-Id is always sent"},
      {"--enable-server-load-tracking", "", false, kNoted, "/metrics always tells the load"},
      {"--disable-fastapi-docs", "", false, kNoted, "/docs and /openapi.json ask for a key like any route"},
      {"--disable-frontend-multiprocessing", "", false, kNoted, "front and engine are always two processes"},
      {"--enable-chunked-prefill", "", false, kNoted, "prompts are always computed in chunks"},
      {"--scheduling-policy", "", true, kNoted,
       "a request's own priority always counts, equal ones go first come first served"},
      {"--stream-interval", "", true, kNoted, "every token is sent as soon as it is there"},
      {"--dtype", "", true, kNoted, "a CPU computes in float32 with the checkpoint's own weights, a GPU in bfloat16"},
      {"--seed", "", true, kNoted, "a request's seed counts; one without a seed gets a random one"},
      {"--disable-log-requests", "", false, kNoted, "prompts and answers are never logged"},
      {"--uvicorn-log-level", "", true, kNoted, "--log-level is for the whole program"},
      {"--allow-credentials", "", false, kNoted, "answers never carry credentials of a browser"},
      {"--max-seq-len-to-capture", "", true, kNoted, "graphs serve every length"},
      {"--disable-uvicorn-access-log", "", false, kMeans, "--no-access-log"},
      {"--disable-log-stats", "", false, kMeans, "--stats-interval=0"},
      {"--disable-access-log-for-endpoints", "", true, kNoted, "probes are never logged"},
      {"--limit-mm-per-prompt", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--mm-processor-kwargs", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--mm-processor-cache-gb", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--media-io-kwargs", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--allowed-local-media-path", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--allowed-media-domains", "", true, kNoted, "pictures and videos are refused by this build"},
      {"--disable-custom-all-reduce", "", false, kNoted, "there is one device"},
      {"--swap-space", "", true, kNoted, "preempted sequences are computed again, not swapped"},

      {"--long-prefill-token-threshold", "", true, kNoted,
       "decoding goes first in each step, so long prompts hold nobody up"},
      {"--allowed-methods", "", true, kNoted, "pages of allowed origins may use every method that a route has"},
      {"--allowed-headers", "", true, kNoted,
       "pages of allowed origins may send every header that means something here"},
      {"--max-log-len", "", true, kNoted, "prompts are never logged"},
      {"--enable-per-request-metrics", "", false, kNoted, "/metrics holds histograms over requests"},
      {"--show-hidden-metrics-for-version", "", true, kNoted, "no metric is hidden"},
      {"--enable-offline-docs", "", false, kNoted, "/openapi.json needs no other site"},
      {"--enable-tokenizer-info-endpoint", "", false, kNoted, "/server_info tells what clients need"},
  };
}

std::vector<KnownFlag> refused_flags() {
  return {
      {"--speculative-config", "-sc", true, kRefused, "speculative decoding is not there yet", {"none"}},
      {"--num-speculative-tokens", "", true, kRefused, "speculative decoding is not there yet", {"0"}},
      {"--enable-lora", "", false, kRefused, "adapters are not supported"},
      {"--lora-modules", "", true, kRefused, "adapters are not supported"},
      {"--tensor-parallel-size", "-tp", true, kRefused, "this build computes on one device", {"1"}},
      {"--pipeline-parallel-size", "-pp", true, kRefused, "this build computes on one device", {"1"}},
      {"--data-parallel-size", "-dp", true, kRefused, "this build computes on one device", {"1"}},
      {"--decode-context-parallel-size", "-dcp", true, kRefused, "this build computes on one device", {"1"}},
      {"--cpu-offload-gb", "", true, kRefused, "weights stay on the device that computes", {"0"}},
      {"--kv-offloading-size", "", true, kRefused, "KV blocks stay on the device that computes", {"0"}},
      {"--hf-overrides", "", true, kRefused, "change config.json in a copy of the model folder instead"},
      {"--runner", "", true, kRefused, "text is generated, and /v1/embeddings needs no flag", {"auto", "generate"}},
      {"--task", "", true, kRefused, "text is generated, and /v1/embeddings needs no flag", {"auto", "generate"}},
      {"--structured-outputs-config", "", true, kRefused, "grammars are xgrammar's, and there is nothing to set"},
      {"--logprobs-mode", "", true, kRefused, "logprobs are those of the model's raw output", {"raw_logprobs"}},
      {"--trust-request-chat-template", "", false, kRefused, "templates are taken from the model folder only"},
      {"--uds", "", true, kRefused, "the server listens on TCP only"},
      {"--ssl-ca-certs", "", true, kRefused,
       "clients bring no certificates here: use --api-key, or a proxy that asks for them"},
      {"--ssl-cert-reqs",
       "",
       true,
       kRefused,
       "clients bring no certificates here: use --api-key, or a proxy that asks for them",
       {"0"}},
      {"--enable-log-requests", "", false, kRefused, "prompts are never logged"},
      {"--enable-log-outputs", "", false, kRefused, "answers are never logged"},
      {"--generation-config",
       "",
       true,
       kRefused,
       "the model's generation_config.json gives the defaults: change it in a copy of the model folder instead",
       {"auto"}},
      {"--override-generation-config", "", true, kRefused,
       "change generation_config.json in a copy of the model folder instead"},
      {"--default-chat-template-kwargs", "", true, kRefused, "requests bring chat_template_kwargs themselves"},
      {"--otlp-traces-endpoint", "", true, kRefused, "traces are not there yet"},
      {"--root-path", "", true, kRefused, "let the proxy strip the path"},
  };
}

const std::vector<KnownFlag>& flags() {
  static const std::vector<KnownFlag> list = [] {
    std::vector<KnownFlag> all = accepted_flags();
    for (KnownFlag flag : refused_flags()) all.push_back(std::move(flag));
    return all;
  }();
  return list;
}

const std::vector<KnownFlag>& bench_flags() {
  static const std::vector<KnownFlag> list = {
      {"--disable-tqdm", "", false, kMeans, "--no-progress"},
      {"--tokenizer", "", true, kNoted, "the server counts the tokens"},
      {"--tokenizer-mode", "", true, kNoted, "the server counts the tokens"},
      {"--trust-remote-code", "", false, kNoted, "nothing of a model is loaded here"},
      {"--profile", "", false, kRefused, "the server has no profiler to start"},
      {"--plot-timeline", "", false, kRefused,
       "use --sweep with --sweep-plot, or --save-detailed for each request's times"},
      {"--probe-request-rate", "", true, kRefused, "run a second gale bench serve beside this one for the probes"},
      {"--lora-modules", "", true, kRefused, "adapters are not supported"},
  };
  return list;
}

const KnownFlag* find_in(const std::vector<KnownFlag>& flags, std::string_view flag) {
  constexpr std::string_view kNo = "--no-";
  for (const KnownFlag& known : flags) {
    if (flag == known.flag || (!known.alias.empty() && flag == known.alias)) return &known;
    const bool is_negation =
        !known.takes_value && flag.starts_with(kNo) && flag.substr(kNo.size()) == known.flag.substr(2);
    if (is_negation && known.kind == kNoted) return &known;
  }
  return nullptr;
}

}  // namespace

std::span<const KnownFlag> known_flags() { return flags(); }
const KnownFlag* find_known_flag(std::string_view flag) { return find_in(flags(), flag); }

std::span<const KnownFlag> known_bench_flags() { return bench_flags(); }
const KnownFlag* find_known_bench_flag(std::string_view flag) { return find_in(bench_flags(), flag); }

}  // namespace gale
