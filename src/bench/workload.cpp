#include "bench/workload.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "base/mapped_file.h"
#include "bench/api_client.h"

namespace gale {
namespace {

constexpr size_t kMaxDatasetBytes = size_t{2} << 30;

bool is_chat(const BenchConfig& config) { return config.backend.ends_with("-chat"); }

// A prompt (token ids or text) and how long its answer is to be.
struct Sample {
  Json prompt;
  int output_len = 0;
};

std::vector<int> random_ids(std::mt19937_64& random, int vocab_size, int count) {
  std::uniform_int_distribution<int> id(0, vocab_size - 1);
  std::vector<int> out(static_cast<size_t>(count));
  for (int& token : out) token = id(random);
  return out;
}

int drawn_length(std::mt19937_64& random, int mean, double ratio) {
  const double spread = mean * ratio;
  std::uniform_int_distribution<int> drawn(std::max(1, static_cast<int>(std::floor(mean - spread))),
                                           static_cast<int>(std::ceil(mean + spread)));
  return drawn(random);
}

std::vector<Sample> random_samples(const BenchConfig& config, std::mt19937_64& random, int vocab_size, int count) {
  const std::vector<int> prefix = random_ids(random, vocab_size, config.random_prefix_len);
  std::vector<Sample> out;
  for (int i = 0; i < count; ++i) {
    std::vector<int> prompt = prefix;
    const std::vector<int> rest =
        random_ids(random, vocab_size, drawn_length(random, config.random_input_len, config.random_range_ratio));
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    out.push_back({prompt, drawn_length(random, config.random_output_len, config.random_range_ratio)});
  }
  return out;
}

// Prompts that begin alike in groups, shuffled: what prefix caches are for.
std::vector<Sample> prefix_samples(const BenchConfig& config, std::mt19937_64& random, int vocab_size, int count) {
  std::vector<std::vector<int>> prefixes;
  for (int i = 0; i < config.num_prefixes; ++i) prefixes.push_back(random_ids(random, vocab_size, config.prefix_len));
  std::vector<Sample> out;
  for (int i = 0; i < count; ++i) {
    std::vector<int> prompt = prefixes[static_cast<size_t>(i % config.num_prefixes)];
    const std::vector<int> suffix = random_ids(random, vocab_size, config.suffix_len);
    prompt.insert(prompt.end(), suffix.begin(), suffix.end());
    out.push_back({prompt, config.random_output_len});
  }
  std::ranges::shuffle(out, random);
  return out;
}

Result<int> num_tokens(HttpClient& client, const BenchConfig& config, const std::string& text) {
  GALE_ASSIGN(const ClientResponse response, client.send({.method = "POST",
                                                          .target = "/tokenize",
                                                          .body = dump_json(Json{{"prompt", text}}),
                                                          .api_key = config.api_key,
                                                          .from_root = true}));
  if (response.status != 200) return fail(ErrorCode::kUnavailable, "/tokenize: {}", error_text(response));
  GALE_ASSIGN(const Json body, parse_json(response.body));
  return body.value("count", 0);
}

Result<Sample> sample_of(const BenchConfig& config, HttpClient& client, const Json& entry, const std::string& where) {
  if (config.dataset_name == "custom") {
    if (!entry.is_object() || !entry.contains("prompt") || !entry["prompt"].is_string())
      return fail(ErrorCode::kInvalidArgument, "{}: expected a JSON object with a string \"prompt\"", where);
    return Sample{entry["prompt"], entry.value("output_tokens", config.random_output_len)};
  }
  const Json turns = entry.is_object() ? entry.value("conversations", Json::array()) : Json::array();
  if (turns.size() < 2 || !turns[0].contains("value") || !turns[1].contains("value"))
    return fail(ErrorCode::kInvalidArgument, "{}: expected an object with two \"conversations\" that have a \"value\"",
                where);
  GALE_ASSIGN(const int length, num_tokens(client, config, turns[1]["value"].get<std::string>()));
  return Sample{turns[0]["value"], std::max(1, length)};
}

Result<std::vector<Sample>> file_samples(const BenchConfig& config, HttpClient& client, std::mt19937_64& random,
                                         int count) {
  if (config.dataset_path.empty())
    return fail_param(ErrorCode::kInvalidArgument, "dataset_path", "this dataset needs a file");
  GALE_ASSIGN(const std::string text, read_file(config.dataset_path, kMaxDatasetBytes));
  Json entries = Json::array();
  if (config.dataset_name == "sharegpt") {
    GALE_ASSIGN(entries, parse_json(text, {.max_bytes = kMaxDatasetBytes}));
  } else {
    std::istringstream lines(text);
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      if (line.empty()) continue;
      auto entry = parse_json(line);
      if (!entry)
        return fail(ErrorCode::kInvalidArgument, "{} line {}: {}", config.dataset_path, number, entry.error().message);
      entries.push_back(std::move(*entry));
    }
  }
  if (!entries.is_array() || entries.empty())
    return fail(ErrorCode::kInvalidArgument, "{} holds no prompts", config.dataset_path);
  if (config.dataset_name == "sharegpt") std::shuffle(entries.begin(), entries.end(), random);
  std::vector<Sample> out;
  for (int i = 0; i < count; ++i) {     // from the start again where there are fewer
    const size_t index = static_cast<size_t>(i) % entries.size();
    GALE_ASSIGN(Sample sample,
                sample_of(config, client, entries[index], fmt::format("{} entry {}", config.dataset_path, index + 1)));
    out.push_back(std::move(sample));
  }
  return out;
}

Result<std::string> body_of(const BenchConfig& config, const std::string& model, const Sample& sample) {
  Json body{{"model", model}};
  if (is_chat(config)) {
    if (!sample.prompt.is_string())
      return fail_param(ErrorCode::kInvalidArgument, "dataset_name",
                        "chats need texts: use a dataset of texts (sharegpt, custom), or the backend openai");
    body["messages"] = Json::array({{{"role", "user"}, {"content", sample.prompt}}});
  } else {
    body["prompt"] = sample.prompt;
  }
  body.update(Json{{"max_tokens", sample.output_len},
                   {"temperature", config.temperature},
                   {"ignore_eos", config.ignore_eos},
                   {"stream", true},
                   {"stream_options", {{"include_usage", true}}}});
  if (config.top_p < 1) body["top_p"] = config.top_p;
  if (config.top_k > 0) body["top_k"] = config.top_k;
  if (config.min_p > 0) body["min_p"] = config.min_p;
  if (config.frequency_penalty != 0) body["frequency_penalty"] = config.frequency_penalty;
  if (config.presence_penalty != 0) body["presence_penalty"] = config.presence_penalty;
  if (config.repetition_penalty != 1) body["repetition_penalty"] = config.repetition_penalty;
  if (!config.extra_body.empty()) {
    GALE_ASSIGN(const Json extra, parse_json(config.extra_body));
    if (!extra.is_object())
      return fail_param(ErrorCode::kInvalidArgument, "extra_body", "--extra-body: expected a JSON object");
    body.update(extra);
  }
  return dump_json(body);
}

// Requests a second when `done` of the run (0 to 1) is over.
double rate_at(const BenchConfig& config, double done) {
  const double from = config.ramp_up_start_rps;
  const double to = config.ramp_up_end_rps;
  if (config.ramp_up_strategy == "linear") return from + (to - from) * done;
  if (config.ramp_up_strategy == "exponential") return from * std::pow(to / from, done);
  return config.request_rate;
}

}  // namespace

std::string endpoint_of(const BenchConfig& config) {
  if (!config.endpoint.empty()) return config.endpoint;
  return is_chat(config) ? "/v1/chat/completions" : "/v1/completions";
}

std::vector<double> arrival_times(const BenchConfig& config, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> pause(config.burstiness, 1 / config.burstiness);   // mean 1
  std::vector<double> out(static_cast<size_t>(count));
  double start = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double rate = rate_at(config, static_cast<double>(i) / static_cast<double>(out.size()));
    if (std::isinf(rate)) continue;
    out[i] = start;
    start += pause(random) / rate;
  }
  return out;
}

Result<std::vector<PlannedRequest>> plan_requests(const BenchConfig& config, HttpClient& client,
                                                  const std::string& model, int vocab_size, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Sample> samples;
  if (config.dataset_name == "random") {
    samples = random_samples(config, random, vocab_size, count);
  } else if (config.dataset_name == "prefix_repetition") {
    samples = prefix_samples(config, random, vocab_size, count);
  } else {
    GALE_ASSIGN(samples, file_samples(config, client, random, count));
  }
  const std::vector<double> starts = arrival_times(config, count, seed);
  std::vector<PlannedRequest> out;
  for (size_t i = 0; i < samples.size(); ++i) {
    GALE_ASSIGN(std::string body, body_of(config, model, samples[i]));
    out.push_back({std::move(body), starts[i]});
  }
  return out;
}

Result<GoodputLimits> parse_goodput(const std::vector<std::string>& texts) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  GoodputLimits limits{kNone, kNone, kNone};
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    double* target = name == "ttft"   ? &limits.ttft_ms
                     : name == "tpot" ? &limits.tpot_ms
                     : name == "e2el" ? &limits.e2el_ms
                                      : nullptr;
    std::istringstream number(colon == std::string::npos ? "" : text.substr(colon + 1));
    if (target == nullptr || !(number >> *target) || !number.eof() || *target <= 0)
      return fail_param(ErrorCode::kInvalidArgument, "goodput", "--goodput {}: expected ttft:MS, tpot:MS or e2el:MS",
                        text);
  }
  return limits;
}

}  // namespace gale
