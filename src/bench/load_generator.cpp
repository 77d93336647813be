#include "bench/load_generator.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "base/json.h"
#include "bench/api_client.h"
#include "bench/progress_bar.h"
#include "bench/workload.h"
#include "net/http.h"

namespace gale {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

double seconds_between(SteadyTime from, SteadyTime to) { return std::chrono::duration<double>(to - from).count(); }

double own_cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

// Reads the events of one answer into a record.
class AnswerClock {
 public:
  AnswerClock(RequestRecord& record, SteadyTime begin) : record_(record), begin_(begin) {}

  bool on_event(std::string_view data) {
    if (data == "[DONE]") {
      is_done_ = true;
      return true;
    }
    const Result<Json> event = parse_json(data);
    if (!event || event->contains("error")) {
      record_.error = event ? dump_json((*event)["error"]) : "an event is no JSON";
      return false;
    }
    if (event->contains("usage") && (*event)["usage"].is_object()) {
      record_.input_tokens = (*event)["usage"].value("prompt_tokens", 0);
      record_.output_tokens = (*event)["usage"].value("completion_tokens", 0);
    }
    if (has_content(*event)) tick();
    return true;
  }
  [[nodiscard]] bool is_complete() const { return is_done_ && has_begun_ && record_.output_tokens > 0; }

 private:
  // Of a completion an event of a token whose text is still held back counts; the one that only names the finish reason
  // does not, nor does the one that only names the role of a chat.
  static bool has_content(const Json& event) {
    if (!event.contains("choices") || event["choices"].empty()) return false;
    const Json& choice = event["choices"][0];
    if (choice.contains("delta")) {
      const Json& delta = choice["delta"];
      const auto says = [&delta](const char* key) {
        return delta.contains(key) && delta[key].is_string() && !delta[key].get_ref<const std::string&>().empty();
      };
      return says("content") || says("reasoning_content") || delta.contains("tool_calls");
    }
    const bool has_text = !choice.value("text", "").empty();
    return has_text || !choice.contains("finish_reason") || choice["finish_reason"].is_null();
  }
  void tick() {
    const double now = seconds_between(begin_, std::chrono::steady_clock::now());
    if (has_begun_) {
      record_.gaps.push_back(now - record_.last_token);
    } else {
      record_.first_token = now;
    }
    has_begun_ = true;
    record_.last_token = now;
  }

  RequestRecord& record_;
  SteadyTime begin_;
  bool has_begun_ = false;
  bool is_done_ = false;
};

RequestRecord send_one(HttpClient& client, const BenchConfig& config, const PlannedRequest& request, SteadyTime begin) {
  RequestRecord record;
  AnswerClock clock(record, begin);
  EventReader events;
  record.start = seconds_between(begin, std::chrono::steady_clock::now());
  const Result<ClientResponse> response = client.stream(
      {.method = "POST", .target = endpoint_of(config), .body = request.body, .api_key = config.api_key},
      [&](std::string_view piece) {
        return events.append(piece, [&](std::string_view data) { return clock.on_event(data); });
      });
  if (!response) {
    record.error = response.error().message;
  } else if (response->status != 200) {
    record.error = fmt::format("status {}: {}", response->status, error_text(*response));
  } else if (record.error.empty() && !clock.is_complete()) {
    record.error = "the stream ended before [DONE], without a token or without usage";
  }
  record.succeeded = record.error.empty();
  return record;
}

// Sends all planned requests, `num_users` at a time; the next one starts when one ends.
Measurement send_all(const BenchConfig& config, const ServerUrl& server, const std::vector<PlannedRequest>& planned) {
  const size_t wanted = config.max_concurrency > 0 ? static_cast<size_t>(config.max_concurrency) : planned.size();
  constexpr size_t kMostThreads = 4096;
  const size_t num_users = std::min({wanted, planned.size(), kMostThreads});
  Measurement out;
  out.requests.resize(planned.size());
  out.num_client_threads = static_cast<int>(num_users);
  std::atomic<size_t> next{0};
  std::atomic<size_t> num_done{0};
  const ProgressBar progress(config.shows_progress, num_done, planned.size());
  const double cpu_before = own_cpu_seconds();
  const SteadyTime begin = std::chrono::steady_clock::now();
  const auto user = [&] {
    HttpClient client(server);
    for (size_t i = next++; i < planned.size(); i = next++) {
      std::this_thread::sleep_until(begin + std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                std::chrono::duration<double>(planned[i].start)));
      out.requests[i] = send_one(client, config, planned[i], begin);
      ++num_done;
    }
  };
  {
    std::vector<std::jthread> users;
    for (size_t i = 0; i < num_users; ++i) users.emplace_back(user);
  }
  out.client_cpu = own_cpu_seconds() - cpu_before;
  double first = std::numeric_limits<double>::infinity();
  for (const RequestRecord& request : out.requests) {
    if (!request.succeeded) continue;
    first = std::min(first, request.start);
    out.duration = std::max(out.duration, request.last_token);
  }
  if (std::isfinite(first)) out.duration -= first;
  return out;
}

// The largest power of two below which the server knows every id, found by asking it for text.
Result<int> find_vocab_size(HttpClient& client, const BenchConfig& config) {
  constexpr int kLargest = 1 << 17;
  constexpr int kSmallest = 1 << 4;
  std::string trouble;
  for (int size = kLargest; size >= kSmallest; size /= 2) {
    GALE_ASSIGN(const ClientResponse response, client.send({.method = "POST",
                                                            .target = "/detokenize",
                                                            .body = fmt::format(R"({{"tokens":[{}]}})", size - 1),
                                                            .api_key = config.api_key}));
    if (response.status == 200) return size;
    trouble = error_text(response);
  }
  return fail(ErrorCode::kUnavailable, "the server's vocabulary could not be found ({}): give --vocab-size", trouble);
}

std::string address_of(const BenchConfig& config) {
  if (config.host.empty() && config.port == 0) return config.base_url;
  return fmt::format("http://{}:{}", config.host.empty() ? "127.0.0.1" : bracketed(config.host),
                     config.port > 0 ? config.port : 8000);
}

}  // namespace

Result<LoadTestResult> run_load_test(const BenchConfig& config) {
  GALE_ASSIGN(const ServerUrl server, parse_server_url(address_of(config), config.tls));
  if (config.ready_timeout_s > 0) GALE_TRY(wait_until_healthy(server, std::chrono::seconds(config.ready_timeout_s)));
  HttpClient client(server, std::chrono::seconds(30));
  LoadTestResult out{.measurement = {}, .model = config.model};
  if (out.model.empty()) {
    ServerUrl api = server;
    api.prefix += "/v1";
    HttpClient api_client(api, std::chrono::seconds(30));
    GALE_ASSIGN(out.model, first_model(api_client, config.api_key));
  }
  int vocab_size = config.vocab_size;
  if (vocab_size == 0) {
    GALE_ASSIGN(vocab_size, find_vocab_size(client, config));
  }
  // Other ids than those that are measured, or the prefix cache would answer.
  GALE_ASSIGN(const std::vector<PlannedRequest> warmups,
              plan_requests(config, client, out.model, vocab_size, config.num_warmups, ~config.seed));
  GALE_ASSIGN(const std::vector<PlannedRequest> planned,
              plan_requests(config, client, out.model, vocab_size, config.num_prompts, config.seed));
  const Measurement warm = send_all(config, server, warmups);
  for (const RequestRecord& request : warm.requests) {
    if (!request.succeeded) return fail(ErrorCode::kUnavailable, "a warm-up request failed: {}", request.error);
  }
  out.measurement = send_all(config, server, planned);
  return out;
}

Result<LatencyResult> run_latency_test(const BenchConfig& config, const LatencyConfig& latency) {
  BenchConfig batch = config;
  batch.num_prompts = latency.batch_size;
  batch.max_concurrency = latency.batch_size;
  batch.random_input_len = latency.input_len;
  batch.random_output_len = latency.output_len;
  batch.num_warmups = 0;
  batch.shows_progress = false;
  LatencyResult out;
  const int num_all = latency.num_warmup_iterations + latency.num_iterations;
  for (int i = 0; i < num_all; ++i) {
    batch.seed = config.seed + static_cast<uint64_t>(i);
    GALE_ASSIGN(LoadTestResult result, run_load_test(batch));
    for (const RequestRecord& request : result.measurement.requests) {
      if (!request.succeeded) return fail(ErrorCode::kUnavailable, "a request failed: {}", request.error);
    }
    if (i >= latency.num_warmup_iterations) out.seconds.push_back(result.measurement.duration);
  }
  return out;
}

}  // namespace gale
