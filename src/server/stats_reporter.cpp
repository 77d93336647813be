#include "server/stats_reporter.h"

#include "base/log.h"

namespace gale {

StatsReporter::StatsReporter(const Pipeline& pipeline, ServingMetrics& metrics, std::chrono::seconds interval)
    : pipeline_(pipeline), metrics_(metrics), interval_(interval), ticker_(interval, [this] { report(); }) {}

void StatsReporter::report() {
  const PipelineStatus status = pipeline_.status();
  metrics_.refresh(status);
  const double prompt = metrics_.prompt_tokens.value();
  const double generated = metrics_.generation_tokens.value();
  const auto per_second = [this](double grown) { return grown / static_cast<double>(interval_.count()); };
  const Stats& stats = status.stats;
  const double used = stats.num_blocks > 0 ? 100.0 * static_cast<double>(stats.num_blocks - stats.num_free_blocks) /
                                                 static_cast<double>(stats.num_blocks)
                                           : 0;
  const double hits = stats.prefix_queries > 0
                          ? 100.0 * static_cast<double>(stats.prefix_hits) / static_cast<double>(stats.prefix_queries)
                          : 0;
  const bool is_idle =
      prompt == last_prompt_ && generated == last_generated_ && stats.num_running == 0 && stats.num_waiting == 0;
  const double prompt_rate = per_second(prompt - last_prompt_);
  const double generation_rate = per_second(generated - last_generated_);
  log_line(is_idle ? LogLevel::kDebug : LogLevel::kInfo,
           fmt::format("Engine 000: Avg prompt throughput: {:.1f} tokens/s, Avg generation throughput: {:.1f} "
                       "tokens/s, Running: {} reqs, Waiting: {} reqs, Preemptions: {}, GPU KV cache usage: {:.1f}%, "
                       "Prefix cache hit rate: {:.1f}%",
                       prompt_rate, generation_rate, stats.num_running, stats.num_waiting, stats.num_preemptions, used,
                       hits),
           {{"prompt_tokens_per_s", prompt_rate},
            {"generation_tokens_per_s", generation_rate},
            {"num_running", int64_t{stats.num_running}},
            {"num_waiting", int64_t{stats.num_waiting}},
            {"num_preemptions", static_cast<int64_t>(stats.num_preemptions)},
            {"kv_cache_usage_percent", used},
            {"prefix_cache_hit_percent", hits}});
  last_prompt_ = prompt;
  last_generated_ = generated;
}

}  // namespace gale
