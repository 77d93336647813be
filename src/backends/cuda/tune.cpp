#include "backends/cuda/tune.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <type_traits>

#include "backends/cuda/built_in_tables.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/stream.h"
#include "backends/cuda/tune_choice.h"
#include "backends/cuda/tune_operands.h"
#include "base/check.h"

namespace gale::cuda {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMinCalls = 24;          // of a graph, or one by each copy of the weights
constexpr int kRounds = 3;             // the median counts
constexpr double kRoundMs = 0.5;

void check_cuda(cudaError_t error, const char* what) {
  CHECK(error == cudaSuccess, "{}: {}", what, cudaGetErrorString(error));
}

struct DestroyEvent {
  void operator()(cudaEvent_t event) const { (void)cudaEventDestroy(event); }
};
using EventHandle = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;

EventHandle make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDefault), "cudaEventCreate");
  return EventHandle(event);
}

// The products of one stream follow its table, which is written before each run.
class Trial {
 public:
  explicit Trial(Device& device)
      : stream_(make_stream_with(table_)), context_{*stream_, cuda_op_table(), device.caps()} {}

  [[nodiscard]] OpContext& context() { return context_; }
  void choose(const ProductKey& key, int bucket, const Candidate& kernel) {
    table_.entries.clear();
    table_.entries[key][bucket] = {.kernel = kernel};
  }

  // Of one call: medians of graphs of many calls, each by another copy of the weights.
  [[nodiscard]] double microseconds(const ProductOperands& operands) {
    const int num_calls = std::max(kMinCalls, operands.num_copies());
    stream_->begin_capture();
    for (int i = 0; i < num_calls; ++i) operands.run(context_, i);
    const std::unique_ptr<Graph> graph = stream_->end_capture();
    const double first_ms = milliseconds(*graph, 1);
    const int replays = std::clamp(static_cast<int>(kRoundMs / std::max(first_ms, 1e-3)), 1, 1000);
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) times.push_back(milliseconds(*graph, replays) / replays);
    std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
    return times[kRounds / 2] * 1e3 / num_calls;
  }

 private:
  [[nodiscard]] double milliseconds(Graph& graph, int replays) {
    check_cuda(cudaEventRecord(begin_.get(), handle_of(*stream_)), "cudaEventRecord");
    for (int i = 0; i < replays; ++i) stream_->launch(graph);
    check_cuda(cudaEventRecord(end_.get(), handle_of(*stream_)), "cudaEventRecord");
    stream_->synchronize();
    float out = 0;
    check_cuda(cudaEventElapsedTime(&out, begin_.get(), end_.get()), "cudaEventElapsedTime");
    return static_cast<double>(out);
  }

  KernelTable table_;
  std::unique_ptr<Stream> stream_;
  OpContext context_;
  EventHandle begin_ = make_event(), end_ = make_event();
};

// One product: its operands, and what was measured of a bucket.
class ProductTuner {
 public:
  ProductTuner(Trial& trial, const ProductShape& shape, ProductOperands& operands, TuneOutcome& outcome)
      : trial_(trial), shape_(shape), operands_(operands), outcome_(outcome) {}

  // A line for each number of tokens.
  TableEntry tune(int bucket, const std::function<void(const std::string&)>& say) {
    const std::vector<int> tokens = measured_tokens(shape_.op, bucket);
    std::vector<Measurement> measurements;
    for (const Candidate& kernel : candidates_of(shape_, bucket)) measurements.push_back({kernel, {}});
    std::vector<bool> is_wrong(measurements.size(), false);
    for (const int num_tokens : tokens) measure(bucket, num_tokens, measurements, is_wrong);
    const size_t best = fastest(measurements);
    for (size_t m = 0; m < tokens.size(); ++m) {
      const double bound = bound_of(shape_, tokens[m]);
      std::string line = fmt::format("{:<36} {:>5} {:>7.1f}", describe(shape_), tokens[m], bound);
      for (size_t i = 0; i < measurements.size(); ++i) {
        const std::string name = fmt::format("{}{}", i == best ? "*" : "", name_of(measurements[i].kernel));
        if (is_wrong[i]) {
          line += fmt::format("  {} WRONG", name);
          continue;
        }
        const double time = measurements[i].microseconds[m];
        line += fmt::format("  {} {:.1f} {:.0f}%", name, time, bound / time * 100);
      }
      say(line);
    }
    return {.kernel = measurements[best].kernel,
            .num_chosen = shape_.num_chosen,
            .microseconds = measurements[best].microseconds.back(),
            .heuristic_microseconds = measurements[0].microseconds.back()};
  }

 private:
  // Every candidate at one number of tokens, the heuristic's results as the measure of the others'.
  void measure(int bucket, int num_tokens, std::vector<Measurement>& measurements, std::vector<bool>& is_wrong) {
    operands_.set_tokens(trial_.context(), num_tokens);
    std::vector<float> expected;
    for (size_t i = 0; i < measurements.size(); ++i) {
      if (is_wrong[i]) continue;
      trial_.choose(key_of(shape_), bucket, measurements[i].kernel);
      operands_.spoil_rows(trial_.context());
      operands_.run(trial_.context(), 0);
      std::vector<float> got = operands_.rows(trial_.context());
      if (i == 0) {
        expected = std::move(got);
      } else if (!agree(expected, got, {shape_.is_fp8, operands_.is_rounded()})) {
        is_wrong[i] = true, measurements[i].microseconds.clear(), ++outcome_.num_wrong;
        continue;
      }
      measurements[i].microseconds.push_back(trial_.microseconds(operands_));
    }
  }

  Trial& trial_;
  const ProductShape& shape_;
  ProductOperands& operands_;
  TuneOutcome& outcome_;
};

int most_tokens(const ProductShape& shape) {
  return measured_tokens(shape.op, bucket_bounds(shape.op).back()).back();
}

}  // namespace

const CardFacts& card_of(const Device& device) { return table_of(device).card; }

Result<TuneOutcome> tune_kernels(Device& device, const TuneRequest& request) {
  if (device.caps().compute_capability != 90)
    return fail(ErrorCode::kUnavailable,
                "{} has one kernel for each product and number of tokens: there is nothing to choose; Hopper cards "
                "(compute capability 9.0) have several",
                device.caps().name);
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  const Clock::time_point begin = Clock::now();
  TuneOutcome outcome{.table = {.card = card_of(device), .kernels = std::string(kernels_version())}};
  Trial trial(device);
  request.say(fmt::format("{:<36} {:>5} {:>7}  kernel, us, share of the bound; * is taken", "product", "M", "bound"));
  for (const ProductShape& shape : request.products) {
    std::optional<ProductOperands> operands;
    for (const int bucket : bucket_bounds(shape.op)) {
      if (seconds_since(begin) >= request.max_seconds) {
        ++outcome.num_left_out;
        continue;
      }
      if (!operands) {
        GALE_ASSIGN(operands, ProductOperands::make(device, trial.context(), shape, most_tokens(shape)));
      }
      ProductTuner tuner(trial, shape, *operands, outcome);
      outcome.table.entries[key_of(shape)][bucket] = tuner.tune(bucket, request.say);
    }
  }
  return outcome;
}

}  // namespace gale::cuda
