#include <gmock/gmock.h>

#include "bench/measurement.h"
#include "bench/report.h"

namespace gale {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kTiny = 1e-9;

RequestRecord answer(double start, double first, std::vector<double> gaps, int output_tokens) {
  RequestRecord record{.succeeded = true,
                       .start = start,
                       .first_token = first,
                       .last_token = first,
                       .gaps = std::move(gaps),
                       .input_tokens = 10,
                       .output_tokens = output_tokens};
  for (const double gap : record.gaps) record.last_token += gap;
  return record;
}

TEST(Summary, percentiles_lie_between_neighbours) {
  const Summary summary = summarize({4, 1, 3, 2}, {25, 99});
  EXPECT_DOUBLE_EQ(summary.mean, 2.5);
  EXPECT_DOUBLE_EQ(summary.median, 2.5);
  EXPECT_THAT(summary.percentiles, ElementsAre(DoubleNear(1.75, kTiny), DoubleNear(3.97, kTiny)));
  EXPECT_DOUBLE_EQ(summarize({}, {99}).percentiles[0], 0);
}

TEST(Report, follows_the_definitions) {
  Measurement measurement{.duration = 2.0};
  measurement.requests = {answer(0.0, 0.1, {0.2, 0.3}, 3), answer(0.5, 0.6, {}, 1)};
  measurement.requests.push_back({.error = "refused"});
  const Report report = make_report(measurement, {99});
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.num_chunks, 4);
  EXPECT_DOUBLE_EQ(report.output_throughput, 2.0);
  EXPECT_DOUBLE_EQ(report.total_throughput, 12.0);
  EXPECT_NEAR(report.ttft.mean, 100, kTiny);
  EXPECT_NEAR(report.tpot.mean, 250, kTiny);   // of the request with more than one token only
  EXPECT_NEAR(report.itl.mean, 250, kTiny);
  EXPECT_EQ(report.peak_concurrency, 2);
  EXPECT_NEAR(report.peak_output_throughput, 4, kTiny);
}

TEST(Report, prints_the_block_that_scripts_read) {
  Measurement measurement{.duration = 1.0};
  measurement.requests = {answer(0, 0.25, {0.25}, 2)};
  const std::string block = print_report({.max_concurrency = 4}, make_report(measurement, {99}), 1.0);
  EXPECT_THAT(block, testing::StartsWith("============ Serving Benchmark Result ============\n"
                                         "Successful requests:                     1         \n"
                                         "Failed requests:                         0         \n"
                                         "Maximum request concurrency:             4         \n"
                                         "Benchmark duration (s):                  1.00      \n"));
  EXPECT_THAT(block, HasSubstr("---------------Time to First Token----------------\n"
                               "Mean TTFT (ms):                          250.00    \n"));
  EXPECT_THAT(block, HasSubstr("-----Time per Output Token (excl. 1st token)------\n"));
  EXPECT_THAT(block, testing::EndsWith(std::string(50, '=') + "\n"));
}

TEST(Report, warns_where_the_client_is_the_bottleneck) {
  EXPECT_THAT(print_client_cost({.duration = 1, .client_cpu = 0.9, .num_client_threads = 1}, 8), HasSubstr("WARNING"));
  EXPECT_THAT(print_client_cost({.duration = 1, .client_cpu = 0.1, .num_client_threads = 8}, 8),
              testing::Not(HasSubstr("WARNING")));
}

}  // namespace
}  // namespace gale
