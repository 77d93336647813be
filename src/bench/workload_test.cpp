#include "bench/workload.h"

#include <gmock/gmock.h>

#include "bench/sweep.h"

namespace gale {
namespace {

using testing::HasSubstr;

TEST(ArrivalTimes, have_the_rate_and_repeat_themselves) {
  const BenchConfig config{.request_rate = 20};
  const std::vector<double> times = arrival_times(config, 4000, 7);
  EXPECT_EQ(times.front(), 0);
  EXPECT_NEAR(times.back(), 4000 / 20.0, 10);
  EXPECT_EQ(times, arrival_times(config, 4000, 7));
  EXPECT_NE(times, arrival_times(config, 4000, 8));
  EXPECT_EQ(arrival_times({}, 3, 1), (std::vector<double>{0, 0, 0}));   // no rate: at once
}

TEST(ArrivalTimes, are_the_more_even_the_less_bursty) {
  const auto variance = [](double burstiness) {
    const std::vector<double> times = arrival_times({.request_rate = 1, .burstiness = burstiness}, 5000, 3);
    double sum = 0;
    for (size_t i = 1; i < times.size(); ++i) sum += (times[i] - times[i - 1] - 1) * (times[i] - times[i - 1] - 1);
    return sum / static_cast<double>(times.size());
  };
  EXPECT_NEAR(variance(1), 1, 0.2);      // Poisson
  EXPECT_NEAR(variance(0.25), 4, 1);
  EXPECT_NEAR(variance(100), 0.01, 0.005);
}

TEST(ArrivalTimes, follow_a_ramp) {
  BenchConfig config{.burstiness = 1000, .ramp_up_strategy = "linear", .ramp_up_start_rps = 1, .ramp_up_end_rps = 10};
  const std::vector<double> linear = arrival_times(config, 1000, 1);
  EXPECT_NEAR(linear[1] - linear[0], 1, 0.2);
  EXPECT_NEAR(linear[999] - linear[998], 0.1, 0.02);
  config.ramp_up_strategy = "exponential";
  const std::vector<double> exponential = arrival_times(config, 1000, 1);
  EXPECT_NEAR(exponential[501] - exponential[500], 1 / std::sqrt(10), 0.06);
}

TEST(Goodput, is_parsed_and_counted) {
  EXPECT_DOUBLE_EQ(parse_goodput({"ttft:200", "tpot:30.5"})->ttft_ms, 200);
  for (const char* bad : {"ttft", "ttft:", "ttft:x", "ttft:1x", "itl:3", "e2el:-1", ":5"})
    EXPECT_FALSE(parse_goodput({bad})) << bad;
  Measurement measurement{.duration = 2};
  measurement.requests = {{.succeeded = true, .start = 0, .first_token = 0.1, .last_token = 0.3, .output_tokens = 3},
                          {.succeeded = true, .start = 0, .first_token = 0.5, .last_token = 0.5, .output_tokens = 1},
                          {.error = "refused"}};
  EXPECT_DOUBLE_EQ(goodput_of(measurement, *parse_goodput({"ttft:200"})), 0.5);
  EXPECT_DOUBLE_EQ(goodput_of(measurement, *parse_goodput({"tpot:100"})), 1);    // one token: nothing to wait between
  EXPECT_DOUBLE_EQ(goodput_of(measurement, *parse_goodput({"e2el:100"})), 0);
}

TEST(Sweep, tells_every_run_in_table_and_plot) {
  SweepPoint point{.concurrency = 8, .report = {.completed = 5, .output_throughput = 123.4}};
  point.report.ttft.percentiles = point.report.itl.percentiles = {7};
  const std::vector<SweepPoint> points = {point, {.concurrency = 16, .report = {.output_throughput = 200}}};
  EXPECT_THAT(sweep_table(points, 99),
              testing::AllOf(HasSubstr("123.40"), HasSubstr("P99 TTFT"), HasSubstr("         16 ")));
  EXPECT_THAT(sweep_svg(points, "a < b & c"),
              testing::AllOf(HasSubstr("a &lt; b &amp; c"), HasSubstr(">16</text>"), testing::EndsWith("</svg>\n")));
}

}  // namespace
}  // namespace gale
