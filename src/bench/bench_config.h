#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "net/client_tls.h"

namespace gale {

// A load test as `gale bench serve` takes it.
struct BenchConfig {
  std::string base_url = "http://127.0.0.1:8000";
  std::string host;                    // with port in place of base_url; empty and 0: as it says
  int port = 0;
  ClientTlsConfig tls;
  std::string backend = "openai";      // openai, vllm: completions; openai-chat, vllm-chat: chats
  std::string endpoint;                // empty: the backend's
  std::string model;                   // empty: the first of /v1/models
  std::string api_key;
  int num_prompts = 1000;
  std::string dataset_name = "random"; // random, prefix_repetition, sharegpt, custom
  std::string dataset_path;            // of sharegpt (JSON) and custom (a JSON object with "prompt" a line)
  int random_prefix_len = 0;           // tokens that all prompts share, in front
  int num_prefixes = 10;  // of prefix_repetition: as many prompts begin alike as there are prompts to one prefix
  int prefix_len = 256;
  int suffix_len = 256;
  int random_input_len = 1024;         // tokens
  int random_output_len = 128;         // tokens
  double random_range_ratio = 0.0;     // lengths are drawn from [len * (1 - r), len * (1 + r)]
  int max_concurrency = 0;             // requests under way at once, the next starts when one ends; 0: no bound
  double request_rate = std::numeric_limits<double>::infinity();   // requests a second, Poisson; inf: at once
  double burstiness = 1.0;             // shape of the gamma distribution of pauses; 1: Poisson, less: burstier
  std::string ramp_up_strategy =
      "none";  // none, linear, exponential: from ramp_up_start_rps to ramp_up_end_rps over the run
  double ramp_up_start_rps = 1;
  double ramp_up_end_rps = 10;
  std::vector<std::string> goodput;    // "ttft:200": what a request must keep to count, in milliseconds
  std::vector<std::string> percentile_metrics = {"ttft", "tpot", "itl"};   // what is printed: of these and e2el
  std::string extra_body;              // a JSON object: further fields of each request
  double top_p = 1, min_p = 0;
  int top_k = 0;
  double frequency_penalty = 0, presence_penalty = 0, repetition_penalty = 1;
  std::vector<int> sweep;              // concurrencies: a run for each, then a table and a plot
  std::string sweep_plot;              // where the plot goes (SVG); empty: nowhere
  bool shows_progress = true;          // on a terminal
  int num_warmups = 0;                 // requests before the measurement, not counted, with prompts of their own
  int ready_timeout_s = 0;             // how long to wait for /health before the first request
  uint64_t seed = 0;
  bool ignore_eos = true;              // outputs of exact length
  double temperature = 0.0;
  int vocab_size = 0;                  // prompt ids are drawn below it; 0: found by asking /tokenize
  std::vector<int> metric_percentiles = {99};
  bool save_result = false;
  bool append_result = false;          // to the file's list instead of a new file
  std::vector<std::string> metadata;   // "key=value" for the file
  bool save_detailed = false;          // every request's figures, too
  std::string result_dir = ".";
  std::string result_filename;         // empty: from rate, model and time
  std::string label = "gale";
};

// What `gale bench latency` has beside these.
struct LatencyConfig {
  int input_len = 32;                  // tokens
  int output_len = 128;
  int batch_size = 8;                  // requests at once: an iteration
  int num_warmup_iterations = 10;
  int num_iterations = 30;
  std::string output_json;             // a file for the figures; empty: none
};

}  // namespace gale
