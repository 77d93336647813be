#include "server/serving_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>

#include "base/fault_point.h"

namespace gale {
namespace {

constexpr double kFirstToken[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                  1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kTokenGap[] = {.001, .002, .003, .005, .0075, .01, .025, .05, .075, .1, .15, .2,
                                .3,   .4,   .5,   .75,  1,     2.5, 5,    7.5, 10,   20, 40,  80};
constexpr double kLatency[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                               30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kTokens[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                              1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kChoices[] = {1, 2, 5, 10, 20};
constexpr double kParser[] = {.00001, .0001, .0005, .001, .005, .01, .05, .1, .5, 1};
constexpr double kHttp[] = {.001, .005, .01, .05, .1, .5, 1, 5, 10, 60};

// 0 where there is no /proc. The iterator of std::filesystem ends the process if there is no memory for a name.
double num_open_files() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), ::closedir);
  int num_files = 0;
  while (const dirent* file = folder ? ::readdir(folder.get()) : nullptr) num_files += file->d_name[0] != '.' ? 1 : 0;
  return num_files;
}

}  // namespace

void ServingMetrics::Followed::follow(uint64_t value) {
  total.add(static_cast<double>(value >= last ? value - last : value));
  last = value;
}

void ServingMetrics::FollowedHistogram::follow(std::span<const uint64_t> counts, double sum) {
  const bool began_anew = !std::ranges::equal(last, counts, std::less_equal<>{});
  if (began_anew) {
    std::ranges::fill(last, 0);
    last_sum = 0;
  }
  total.add_grown(counts, last, sum - last_sum);
  std::ranges::copy(counts, last.begin());
  last_sum = sum;
}

ServingMetrics::ServingMetrics(const std::string& model_name)
    : registry_({{"engine", "0"}, {"model_name", model_name}}),
      prompt_tokens(registry_.counter("vllm:prompt_tokens", "Prompt tokens of admitted requests.")),
      prompt_tokens_cached(registry_.counter("vllm:prompt_tokens_cached", "Prompt tokens found in the prefix cache.")),
      generation_tokens(registry_.counter("vllm:generation_tokens", "Tokens given to clients.")),
      first_token_s(registry_.histogram("vllm:time_to_first_token_seconds",
                                        "From a request's arrival to its first token.", kFirstToken)),
      inter_token_s(
          registry_.histogram("vllm:inter_token_latency_seconds", "Between two tokens of a choice.", kTokenGap)),
      time_per_token_s(registry_.histogram("vllm:request_time_per_output_token_seconds",
                                           "Mean time a token after the first, of a request.", kTokenGap)),
      latency_s(registry_.histogram("vllm:e2e_request_latency_seconds", "From a request's arrival to its last token.",
                                    kLatency)),
      request_prompt_tokens(
          registry_.histogram("vllm:request_prompt_tokens", "Prompt tokens of a finished request.", kTokens)),
      request_generation_tokens(
          registry_.histogram("vllm:request_generation_tokens", "Tokens made for a finished request.", kTokens)),
      params_n(registry_.histogram("vllm:request_params_n", "Choices asked for.", kChoices)),
      params_max_tokens(registry_.histogram("vllm:request_params_max_tokens", "max_tokens asked for.", kTokens)),
      queue_s(registry_.histogram("vllm:request_queue_time_seconds",
                                  "From a request's arrival in the engine to its admission to a batch.", kLatency)),
      prefill_s(registry_.histogram("vllm:request_prefill_time_seconds",
                                    "From a request's admission to its first token, by the engine.", kLatency)),
      decode_s(registry_.histogram("vllm:request_decode_time_seconds",
                                   "From a request's first token to its last, by the engine.", kLatency)),
      inference_s(registry_.histogram("vllm:request_inference_time_seconds",
                                      "From a request's admission to its last token, by the engine.", kLatency)),
      parser_s(registry_.histogram("parser_time_seconds",
                                   "What the front needs to make text, thinking and calls of a request's output.",
                                   kParser, {{"parser", "output"}})),
      request_max_generation_tokens(registry_.histogram("vllm:request_max_num_generation_tokens",
                                                        "The most tokens a choice of a request had.", kTokens)),
      request_computed_tokens(registry_.histogram("vllm:request_prefill_kv_computed_tokens",
                                                  "Prompt tokens of a request that no cache had.", kTokens)),
      client_disconnects(
          registry_.counter("client_disconnects", "Clients that left before their answer was complete.")),
      slow_readers(registry_.counter("stream_stalled", "Streams cut because the client did not read them.")),
      body_bytes(registry_.counter("http_body_bytes", "Bytes of request bodies.")),
      prefix_queries_{registry_.counter("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.")},
      prefix_hits_{registry_.counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache.")},
      preemptions_{registry_.counter("vllm:num_preemptions", "Sequences set back to make room.")},
      failures_{registry_.counter("engine_sequence_failures",
                                  "Sequences that a step failed, as by a NaN in their logits; others lived on.")},
      kv_warnings_{registry_.counter("kv_cache_warnings", "Times that more than 90 % of the KV blocks were in use.")},
      layered_steps_{registry_.counter("layered_prefill_steps",
                                       "Steps in which a long prompt passed through some layers, beside answers.")},
      faults_{registry_.counter("faults_injected", "Faults that tests let happen; no fault points, no faults.")},
      step_tokens_(registry_.histogram("vllm:iteration_tokens_total",
                                       "Tokens of prompts and outputs that a step of the engine computed.",
                                       kStepTokenBounds)),
      cancel_to_free_(registry_.histogram("cancel_to_free_seconds",
                                          "From a cancel to the engine's word that slot and KV blocks are free.",
                                          kCancelToFreeBounds)),
      running_(registry_.gauge("vllm:num_requests_running", "Sequences in the running batch.")),
      waiting_(registry_.gauge("vllm:num_requests_waiting", "Sequences that wait for room.")),
      kv_usage_(registry_.gauge("vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.")),
      beat_age_s_(registry_.gauge("engine_beat_age_seconds", "Since the engine's last sign of life.")),
      blocks_leaked_(registry_.gauge("blocks_leaked", "KV blocks that the audit found without an owner.")),
      engine_restarts_(registry_.gauge("engine_restarts", "Times the engine was started again.")),
      waiting_for_room_(registry_.gauge("vllm:num_requests_waiting_by_reason",
                                        "Sequences that wait, by what they wait for.", {{"reason", "capacity"}})) {
  // Dashboards ask for these; what the served model has not stays at nothing.
  registry_
      .gauge("vllm:engine_sleep_state", "Whether the engine is awake; it never sleeps.", {{"sleep_state", "awake"}})
      .set(1);
  for (const char* name : {"vllm:mm_cache_queries", "vllm:mm_cache_hits", "vllm:spec_decode_num_drafts",
                           "vllm:spec_decode_num_draft_tokens", "vllm:spec_decode_num_accepted_tokens"})
    registry_.counter(name, "Not of this model: always 0.");
  registry_.counter("vllm:spec_decode_num_accepted_tokens_per_pos", "Not of this model: always 0.",
                    {{"position", "0"}});
}

void ServingMetrics::refresh(const PipelineStatus& status) {
  const std::lock_guard lock(mutex_);
  const Stats& stats = status.stats;
  prefix_queries_.follow(stats.prefix_queries);
  prefix_hits_.follow(stats.prefix_hits);
  preemptions_.follow(stats.num_preemptions);
  failures_.follow(stats.num_failures);
  kv_warnings_.follow(stats.num_kv_warnings);
  layered_steps_.follow(stats.num_layered_steps);
  faults_.follow(num_faults_injected());
  step_tokens_.follow(stats.step_tokens.counts, stats.step_tokens.sum);
  cancel_to_free_.follow(status.cancel_to_free.counts, status.cancel_to_free.sum);
  running_.set(stats.num_running);
  waiting_.set(stats.num_waiting);
  waiting_for_room_.set(stats.num_waiting);
  const double used = static_cast<double>(stats.num_blocks - stats.num_free_blocks);
  kv_usage_.set(stats.num_blocks > 0 ? used / static_cast<double>(stats.num_blocks) : 0);
  beat_age_s_.set(status.beat_age_s);
  blocks_leaked_.set(static_cast<double>(stats.num_leaked_blocks));
  engine_restarts_.set(status.num_engine_restarts);
  if (status.engine) {
    const MetricLabels labels = {{"block_size", fmt::format("{}", status.engine->block_size)},
                                 {"num_gpu_blocks", fmt::format("{}", status.engine->num_blocks)}};
    registry_.gauge("vllm:cache_config_info", "The KV cache as labels; always 1.", labels).set(1);
  }
  refresh_process();
}

void ServingMetrics::refresh_process() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto to_seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  const double cpu_s = to_seconds(usage.ru_utime) + to_seconds(usage.ru_stime);
  registry_.counter("process_cpu_seconds", "CPU time of the front.").add(cpu_s - last_cpu_s_);
  last_cpu_s_ = cpu_s;
  long total_pages = 0;
  long resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  const auto page_bytes = static_cast<double>(::sysconf(_SC_PAGESIZE));
  registry_.gauge("process_resident_memory_bytes", "Memory of the front.")
      .set(static_cast<double>(resident_pages) * page_bytes);
  registry_.gauge("process_virtual_memory_bytes", "Address space of the front.")
      .set(static_cast<double>(total_pages) * page_bytes);
  registry_.gauge("process_open_fds", "Open descriptors of the front.").set(num_open_files());
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  registry_.gauge("process_max_fds", "Descriptors it may open.").set(static_cast<double>(limit.rlim_cur));
  registry_.gauge("process_start_time_seconds", "When it started, since the epoch.").set(start_time_s_);
}

void ServingMetrics::count_shed(const std::string& reason) {
  registry_.counter("requests_shed", "Requests refused by load or while loading or leaving.", {{"reason", reason}})
      .add();
}

void ServingMetrics::note_request(const Completed& request) {
  const auto count_source = [this](const char* source, int tokens) {
    registry_
        .counter("vllm:prompt_tokens_by_source", "Prompt tokens by where their keys and values came from.",
                 {{"source", source}})
        .add(tokens);
  };
  const Usage& usage = request.usage;
  prompt_tokens_cached.add(usage.cached_tokens);
  count_source("local_compute", usage.prompt_tokens - usage.cached_tokens);
  count_source("local_cache_hit", usage.cached_tokens);
  request_computed_tokens.observe(usage.prompt_tokens - usage.cached_tokens);
  request_generation_tokens.observe(usage.completion_tokens);
  request_max_generation_tokens.observe(usage.completion_tokens);
  queue_s.observe(request.times.queue_s);
  prefill_s.observe(request.times.prefill_s);
  decode_s.observe(request.times.inference_s - request.times.prefill_s);
  inference_s.observe(request.times.inference_s);
  parser_s.observe(request.times.parser_s);
}

void ServingMetrics::count_http(const std::string& method, const std::string& route, int status, double seconds) {
  registry_
      .counter("http_requests", "Requests by method, route and status.",
               {{"method", method}, {"handler", route}, {"status", fmt::format("{}", status)}})
      .add();
  registry_
      .histogram("http_request_duration_seconds", "From a request's head to the end of its answer.", kHttp,
                 {{"handler", route}})
      .observe(seconds);
}

void ServingMetrics::count_finish(ChoiceFinish reason) {
  const char* name = reason == ChoiceFinish::kLength ? "length" : "stop";
  registry_.counter("vllm:request_success", "Finished choices by reason.", {{"finished_reason", name}}).add();
}

void ServingMetrics::count_failure(const std::string& reason) {
  registry_.counter("vllm:request_success", "Finished choices by reason.", {{"finished_reason", reason}}).add();
}

}  // namespace gale
