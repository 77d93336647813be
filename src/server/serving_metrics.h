#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "chat/generation.h"
#include "server/metrics.h"
#include "serving/pipeline.h"

namespace gale {

// The metrics of a gale server, under vLLM's names where those have a meaning here. What the front sees itself is
// counted at the event; what the engine knows is taken over by refresh(), also across engine restarts.
class ServingMetrics {
 public:
  explicit ServingMetrics(const std::string& model_name);

  void refresh(const PipelineStatus& status);
  [[nodiscard]] std::string text() const { return registry_.text(); }

  void count_http(const std::string& method, const std::string& route, int status, double seconds);
  void count_finish(ChoiceFinish reason);
  void count_failure(const std::string& reason);      // "error", "abort"
  void count_shed(const std::string& reason);         // a request refused by load: the error's
                                                      // message is for people, this for graphs
  void note_request(const Completed& request);

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
  Histogram& queue_s;
  Histogram& prefill_s;
  Histogram& decode_s;
  Histogram& inference_s;
  Histogram& parser_s;
  Histogram& request_max_generation_tokens;
  Histogram& request_computed_tokens;
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
  // The same of a distribution.
  struct FollowedHistogram {
    explicit FollowedHistogram(Histogram& histogram) : total(histogram), last(histogram.num_buckets()) {}
    Histogram& total;
    std::vector<uint64_t> last;
    double last_sum = 0;
    void follow(std::span<const uint64_t> counts, double sum);
  };

  void refresh_process();

  std::mutex mutex_;
  double last_cpu_s_ = 0;
  const double start_time_s_ =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  Followed prefix_queries_, prefix_hits_, preemptions_, failures_, kv_warnings_, layered_steps_, faults_;
  FollowedHistogram step_tokens_, cancel_to_free_;
  Gauge& running_;
  Gauge& waiting_;
  Gauge& kv_usage_;
  Gauge& beat_age_s_;
  Gauge& blocks_leaked_;
  Gauge& engine_restarts_;
  Gauge& waiting_for_room_;
};

}  // namespace gale
