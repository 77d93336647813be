#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>

#include "chat/generation.h"
#include "server/metrics.h"
#include "serving/pipeline.h"

namespace gale {

// The metrics of a gale server, under vLLM's names where those have a meaning here. What the front sees itself is counted at
// the event; what the engine knows is taken over by refresh(), also across engine restarts.
class ServingMetrics {
 public:
  explicit ServingMetrics(const std::string& model_name);

  void refresh(const PipelineStatus& status);
  [[nodiscard]] std::string text() const { return registry_.text(); }

  void count_http(const std::string& method, const std::string& route, int status, double seconds);
  void count_finish(ChoiceFinish reason);
  void count_failure(const std::string& reason);      // "error", "abort"

  MetricRegistry registry_;
  Counter& prompt_tokens;
  Counter& prompt_tokens_cached;
  Counter& generation_tokens;
  Histogram& first_token_s;
  Histogram& inter_token_s;
  Histogram& time_per_token_s;
  Histogram& latency_s;
  Histogram& request_prompt_tokens;
  Histogram& request_generation_tokens;
  Histogram& params_n;
  Histogram& params_max_tokens;
  Counter& client_disconnects;
  Counter& slow_readers;
  Counter& body_bytes;

 private:
  // A counter of the engine, which starts at 0 with every new engine, as one that only grows.
  struct Followed {
    Counter& total;
    uint64_t last = 0;
    void follow(uint64_t value);
  };

  std::mutex mutex_;
  Followed prefix_queries_, prefix_hits_, preemptions_;
  Gauge& running_;
  Gauge& waiting_;
  Gauge& kv_usage_;
  Gauge& beat_age_s_;
  Gauge& blocks_leaked_;
  Gauge& engine_restarts_;
};

}  // namespace gale
