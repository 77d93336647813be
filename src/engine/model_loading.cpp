// From a folder to an executor: plan, load, take the memory of a step.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "engine/engine.h"
#include "engine/step_memory_internal.h"

namespace gale {
namespace {

constexpr auto kMemoryPatience = std::chrono::seconds(10);  // for the card's memory that an engine before this one held
constexpr auto kMemoryPoll = std::chrono::milliseconds(100);
constexpr auto kProgressInterval = std::chrono::seconds(2);

void log_lines(const std::string& text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    log_info("{}", text.substr(begin, end - begin));
    begin = end + 1;
  }
}

MemoryDemand full_demand(const Model& model, const EngineConfig& config, const Device& device, const OpTable& table) {
  MemoryDemand demand = demand_of(model.info(), model.kv_layout(), config, device);
  demand.workspace_bytes = static_cast<int64_t>(step_bytes(model, config, config.scheduler, device, table));
  return demand;
}

// An engine that was killed a moment ago may still hold the card's memory.
void wait_for_memory(const Device& device, int64_t needed) {
  const auto free_bytes = [&device] { return static_cast<int64_t>(device.memory().free_bytes); };
  if (device.caps().kind != DeviceKind::kCuda || free_bytes() >= needed ||
      static_cast<int64_t>(device.memory().total_bytes) < needed)
    return;
  log_info("{:.2f} GiB of GPU memory are needed, {:.2f} are free: waiting up to {} s for the rest", gib(needed),
           gib(free_bytes()), kMemoryPatience.count());
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  while (free_bytes() < needed && clock.now() - begin < kMemoryPatience) std::this_thread::sleep_for(kMemoryPoll);
}

// Before bytes are read: does the checkpoint fit, and what is left for the cache?
Result<MemoryPlan> plan_before_loading(const UnloadedModel& unloaded, const EngineConfig& config, const Device& device,
                                       const OpTable& table, int64_t freed_bytes = 0) {
  MemoryDemand demand = full_demand(unloaded.model(), config, device, table);
  demand.free_bytes = std::min(demand.free_bytes + freed_bytes, demand.total_bytes);
  GALE_TRY(check_weights_fit(demand, static_cast<int64_t>(unloaded.staging_bytes()), config));
  demand.free_bytes -= demand.weight_bytes;
  return plan_memory(demand, config);
}

// What nobody else can have while this engine lives. On a CPU the cache is there as far as it was used: not counted.
int64_t held_bytes(const MemoryPlan& plan) {
  return plan.demand.weight_bytes + plan.demand.workspace_bytes + (plan.demand.is_gpu ? plan.kv_bytes : 0);
}

// How many products follow measurements, on a device that has a choice.
void tell_kernel_choices(const ModelInfo& info, const Device& device, const OpTable& table) {
  if (table.product_choices == nullptr) return;
  int num_measured = 0, num_others = 0;
  for (const ProductShape& product : info.products) {
    const std::vector<ProductChoice> choices = table.product_choices(device, product);
    if (choices.empty()) continue;
    const bool is_measured =
        std::all_of(choices.begin(), choices.end(), [](const ProductChoice& choice) { return choice.is_measured; });
    (is_measured ? num_measured : num_others) += 1;
  }
  if (num_measured + num_others == 0) return;
  log_info("Kernels: {} of the model's {} products as the card's table says, {} by the first heuristic{}", num_measured,
           num_measured + num_others, num_others, num_others > 0 ? " (gale tune measures them)" : "");
}

Status announce(const UnloadedModel& unloaded, const EngineConfig& config, const Device& device, const OpTable& table) {
  const Model& model = unloaded.model();
  const auto weights = static_cast<int64_t>(model.info().weight_bytes);
  wait_for_memory(device, weights + static_cast<int64_t>(unloaded.staging_bytes()));
  const MemoryDemand demand = full_demand(model, config, device, table);
  log_info("Model {}: {:.2f} GiB of weights, {} bytes of KV cache a token ({}), {:.2f} GiB of memory free",
           model.info().architecture, gib(weights), demand.kv_bytes_per_token, demand.attention_form,
           gib(demand.free_bytes));
  GALE_ASSIGN(const MemoryPlan plan, plan_before_loading(unloaded, config, device, table));
  log_lines(plan.describe());
  tell_kernel_choices(model.info(), device, table);
  return {};
}

LoadOptions load_options(const EngineConfig& config, Device& device, OpContext& context) {
  return {.model_dir = config.model_dir,
          .device = &device,
          .ops = &context,
          .weight_format = config.quantization == Quantization::kFp8 ? WeightFormat::kF8E4M3 : WeightFormat::kAsIs,
          .is_dummy = config.has_random_weights(),
          .dummy_routing = config.load_format == LoadFormat::kDummyZipf ? RandomRouting::kZipf
                                                                         : RandomRouting::kBalanced};
}

// A line now and then while weights are read: how far, how fast.
class ProgressLog {
 public:
  explicit ProgressLog(int64_t num_bytes, std::function<void(double)> next)
      : num_bytes_(num_bytes), next_(std::move(next)) {}
  void operator()(double fraction) {
    if (next_) next_(fraction);
    const TimePoint now = clock_.now();
    if (now - last_ < kProgressInterval || fraction >= 1) return;
    last_ = now;
    const double done = fraction * gib(num_bytes_);
    log_info("Loading weights: {:.0f} %, {:.1f} of {:.1f} GiB, {:.2f} GiB/s", 1e2 * fraction, done, gib(num_bytes_),
             done / seconds(now - begin_));
  }

 private:
  SteadyClock clock_;
  int64_t num_bytes_;
  std::function<void(double)> next_;
  TimePoint begin_ = clock_.now(), last_ = begin_;
};

Result<std::unique_ptr<Executor>> make_executor(std::unique_ptr<Model> model, const EngineConfig& config,
                                                Device& device, const OpTable& table, double load_seconds) {
  GALE_ASSIGN(const MemoryPlan plan, plan_memory(full_demand(*model, config, device, table), config));
  log_info("KV cache: {} blocks of {} tokens, {:.2f} GiB", plan.scheduler.num_blocks, plan.scheduler.block_size,
           gib(plan.kv_bytes));
  GALE_ASSIGN(StepState state, take_memory(*model, config, plan.scheduler, device, table));
  Executor::Info info{.model_name = model->info().architecture,
                      .vocab_size = model->info().vocab_size,
                      .scheduler = plan.scheduler,
                      .load_seconds = load_seconds,
                      .hidden_size = model->info().hidden_size,
                      .memory_bytes = held_bytes(plan)};
  const bool uses_graphs = device.caps().has_graphs && !config.enforce_eager;
  return make_model_executor_of(std::move(model), device, table, std::move(info), std::move(state), uses_graphs);
}

}  // namespace

Result<std::unique_ptr<Executor>> make_executor_for(std::unique_ptr<Model> model, const EngineConfig& config,
                                                    Device& device, const OpTable& ops) {
  return make_executor(std::move(model), config, device, ops, 0);
}

Result<MemoryPlan> plan_serving(const EngineConfig& config, Device& device, const OpTable& ops, int64_t freed_bytes) {
  GALE_TRY(check_precision(config, device));
  const std::unique_ptr<Stream> stream = device.make_stream();
  OpContext context{*stream, ops, device.caps()};
  GALE_ASSIGN(const std::unique_ptr<UnloadedModel> unloaded, open_model(load_options(config, device, context)));
  return plan_before_loading(*unloaded, config, device, ops, freed_bytes);
}

Result<std::vector<ProductShape>> products_of_model(const EngineConfig& config, Device& device, const OpTable& ops) {
  GALE_TRY(check_precision(config, device));
  const std::unique_ptr<Stream> stream = device.make_stream();
  OpContext context{*stream, ops, device.caps()};
  GALE_ASSIGN(const std::unique_ptr<UnloadedModel> unloaded, open_model(load_options(config, device, context)));
  return unloaded->model().info().products;
}

Result<std::unique_ptr<Executor>> make_model_executor(const EngineConfig& config, Device& device, const OpTable& ops,
                                                      const std::function<void(double fraction)>& on_progress) {
  GALE_TRY(check_precision(config, device));
  const SteadyClock clock;
  const std::unique_ptr<Stream> stream = device.make_stream();
  OpContext context{*stream, ops, device.caps()};
  std::optional<ProgressLog> progress;
  LoadOptions options = load_options(config, device, context);
  options.on_progress = [&](double fraction) { (*progress)(fraction); };
  GALE_ASSIGN(const std::unique_ptr<UnloadedModel> unloaded, open_model(options));
  GALE_TRY(announce(*unloaded, config, device, ops));
  const TimePoint begin = clock.now();
  progress.emplace(static_cast<int64_t>(unloaded->model().info().weight_bytes), on_progress);
  GALE_ASSIGN(std::unique_ptr<Model> model, unloaded->load());
  stream->synchronize();
  const double load_seconds = seconds(clock.now() - begin);
  const double weights = gib(static_cast<int64_t>(model->info().weight_bytes));
  log_info("Loading weights took {:.2f} seconds", load_seconds);
  log_info("Model loading took {:.2f} GiB memory and {:.2f} seconds ({:.2f} GiB/s)", weights, load_seconds,
           weights / load_seconds);
  const TimePoint loaded = clock.now();
  GALE_ASSIGN(std::unique_ptr<Executor> executor, make_executor(std::move(model), config, device, ops, load_seconds));
  // As vLLM says it; scripts look for it.
  log_info("init engine (profile, create kv cache, warmup model) took {:.2f} seconds", seconds(clock.now() - loaded));
  return executor;
}

}  // namespace gale
