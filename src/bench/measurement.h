#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gale {

// What one measured request did. Times are seconds since the first send of the run.
struct RequestRecord {
  bool succeeded = false;
  std::string error;                   // why not
  double start = 0;
  double first_token = 0;              // when the first event with content came
  double last_token = 0;
  std::vector<double> gaps;            // between neighbouring content events
  int input_tokens = 0;                // counted by the server
  int output_tokens = 0;
  [[nodiscard]] double ttft() const { return first_token - start; }
  [[nodiscard]] double latency() const { return last_token - start; }
};

struct Measurement {
  std::vector<RequestRecord> requests;
  double duration = 0;                 // first send to last token, seconds
  double client_cpu = 0;               // seconds of processor time that measuring took
  int num_client_threads = 0;
};

// Over requests that succeeded, in milliseconds.
struct Summary {
  double mean = 0;
  double median = 0;
  double std = 0;
  std::vector<double> percentiles;     // those asked for
};
[[nodiscard]] Summary summarize(std::vector<double> values_ms, const std::vector<int>& percentiles);

// The figures of a run, as the printed block and the file hold them.
struct Report {
  int completed = 0, failed = 0;
  int64_t input_tokens = 0, output_tokens = 0, num_chunks = 0;
  double request_goodput = 0;          // requests a second that kept every limit; 0 where none was given
  double request_throughput = 0, output_throughput = 0, total_throughput = 0;
  double peak_output_throughput = 0;   // tokens in the best second
  int peak_concurrency = 0;            // requests under way in the busiest second
  Summary ttft, tpot, itl, e2el;
};
// Limits in milliseconds; TPOT of an answer of one token counts 0.
struct GoodputLimits { double ttft_ms, tpot_ms, e2el_ms; };
[[nodiscard]] double goodput_of(const Measurement& measurement, const GoodputLimits& limits);

// TPOT: (last token - first token) / (tokens - 1), of requests with more than one token. ITL: all gaps of all requests.
[[nodiscard]] Report make_report(const Measurement& measurement, const std::vector<int>& percentiles);

}  // namespace gale
