#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace gale {

// A load test as `gale bench serve` takes it.
struct BenchConfig {
  std::string base_url = "http://127.0.0.1:8000";
  std::string endpoint = "/v1/completions";
  std::string model;                   // empty: the first of /v1/models
  std::string api_key;
  int num_prompts = 1000;
  int random_input_len = 1024;         // tokens
  int random_output_len = 128;         // tokens
  double random_range_ratio = 0.0;     // lengths are drawn from [len * (1 - r), len * (1 + r)]
  int max_concurrency = 0;             // requests under way at once, the next starts when one ends; 0: no bound
  double request_rate = std::numeric_limits<double>::infinity();   // requests a second, Poisson; inf: at once
  int num_warmups = 0;                 // requests before the measurement, not counted, with prompts of their own
  int ready_timeout_s = 0;             // how long to wait for /health before the first request
  uint64_t seed = 0;
  bool ignore_eos = true;              // outputs of exact length
  double temperature = 0.0;
  int vocab_size = 0;                  // prompt ids are drawn below it; 0: found by asking /tokenize
  std::vector<int> metric_percentiles = {99};
  bool save_result = false;
  bool save_detailed = false;          // every request's figures, too
  std::string result_dir = ".";
  std::string result_filename;         // empty: from rate, model and time
  std::string label = "gale";
};

}  // namespace gale
