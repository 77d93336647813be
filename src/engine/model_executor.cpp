#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "engine/batch_builder.h"
#include "engine/engine.h"
#include "engine/kv_allocation.h"
#include "engine/memory_plan.h"
#include "models/model.h"
#include "ops/op_table.h"
#include "sampling/sampler.h"
#include "sampling/staging.h"

namespace gale {
namespace {

}  // namespace

DType kv_cache_dtype(KvCacheDType wanted, DType checkpoint, const Device& device) {
  switch (wanted) {
    case KvCacheDType::kBF16: return DType::kBF16;
    case KvCacheDType::kF32: return DType::kF32;
    case KvCacheDType::kF8E4M3: return DType::kF8E4M3;
    case KvCacheDType::kAuto: break;
  }
  return checkpoint == DType::kF32 && device.caps().kind != DeviceKind::kCuda ? DType::kF32 : DType::kBF16;
}

namespace {

// What this device cannot do, before anything is loaded.
Status check_precision(const EngineConfig& config, const Device& device) {
  const bool is_cuda = device.caps().kind == DeviceKind::kCuda;
  if (config.kv_cache_dtype == KvCacheDType::kF8E4M3 && !is_cuda) {
    return fail_param(ErrorCode::kUnimplemented, "kv-cache-dtype", "--kv-cache-dtype fp8 needs a GPU; {} keeps bfloat16 or float32",
                      device.caps().name);
  }
  if (config.kv_cache_dtype == KvCacheDType::kF32 && is_cuda) {
    return fail_param(ErrorCode::kUnimplemented, "kv-cache-dtype", "--kv-cache-dtype float32 is for the processor; a GPU keeps bfloat16 or fp8");
  }
  return {};
}

// Steps under way at once where the device computes while the host prepares.
constexpr int kMaxInFlight = 2;
int max_in_flight(const Device& device) { return device.caps().kind == DeviceKind::kCuda ? kMaxInFlight : 1; }

Sampler::Options sampler_options(const ModelInfo& model, const EngineConfig& config, const SchedulerConfig& scheduler, const Device& device) {
  const int num_valid = config.num_valid_tokens > 0 ? std::min(config.num_valid_tokens, model.vocab_size) : model.vocab_size;
  return {.vocab_size = model.vocab_size, .num_valid_tokens = num_valid, .max_model_len = scheduler.max_model_len,
          .num_slots = scheduler.max_num_seqs, .num_buffers = max_in_flight(device)};
}

// Rows of logits at once: every sequence's next token, or a piece of a prompt.
int max_logit_rows(const SchedulerConfig& scheduler) { return std::max(scheduler.max_num_seqs, Sampler::kMaxRows); }
size_t logits_bytes(const ModelInfo& model, const SchedulerConfig& scheduler) {
  return static_cast<size_t>(max_logit_rows(scheduler)) * static_cast<size_t>(model.vocab_size) * sizeof(float);
}
size_t row_list_bytes() { return Arena::padded(Sampler::kMaxRows * sizeof(int32_t)); }
// A step holds every running sequence's next token, whatever the budget of prompts is.
int max_step_tokens(const SchedulerConfig& scheduler) { return std::max(scheduler.max_num_batched_tokens, scheduler.max_num_seqs); }

size_t attention_bytes(const Model& model, const OpContext& ops, const SchedulerConfig& scheduler) {
  const KvLayout layout = model.kv_layout();
  const KvLayerSpec& layer = layout.layers.front();   // all layers are alike
  const bool is_mla = layer.kind == KvKind::kMla;
  const AttentionLimits limits{.max_num_seqs = scheduler.max_num_seqs,
                               .max_num_tokens = max_step_tokens(scheduler),
                               .max_model_len = scheduler.max_model_len,
                               .num_heads = model.info().num_attention_heads,
                               .num_kv_heads = is_mla ? 1 : layer.num_kv_heads,
                               .key_dim = is_mla ? layer.latent_dim + layer.rope_dim : layer.head_dim,
                               .value_dim = is_mla ? layer.latent_dim : layer.head_dim,
                               .nope_dim = layer.nope_dim,
                               .head_value_dim = layer.value_dim};
  return Arena::padded(attention_workspace_bytes(ops, limits));
}

// What a step needs beside weights and cache.
size_t step_bytes(const Model& model, const EngineConfig& config, SchedulerConfig scheduler, const Device& device, const OpTable& table) {
  if (scheduler.max_model_len == 0) scheduler.max_model_len = model.info().max_position_embeddings;
  if (scheduler.block_size == 0) scheduler.block_size = 16;
  const std::unique_ptr<Device> nothing = make_null_device();
  const std::unique_ptr<Stream> stream = nothing->make_stream();
  return model.workspace_bytes(max_step_tokens(scheduler), max_logit_rows(scheduler)) + logits_bytes(model.info(), scheduler) +
         row_list_bytes() + BatchBuilder::num_bytes(scheduler) + attention_bytes(model, {*stream, table, device.caps()}, scheduler) +
         Sampler::num_bytes(sampler_options(model.info(), config, scheduler, device));
}

MemoryDemand demand_of(const ModelInfo& info, const KvLayout& layout, const EngineConfig& config, const Device& device) {
  const DeviceMemory memory = device.memory();
  return {.is_gpu = device.caps().kind == DeviceKind::kCuda,
          .total_bytes = static_cast<int64_t>(memory.total_bytes),
          .free_bytes = static_cast<int64_t>(memory.free_bytes),
          .weight_bytes = static_cast<int64_t>(info.weight_bytes),
          .kv_bytes_per_token = layout.elements_per_token() *
                                static_cast<int64_t>(size_of(kv_cache_dtype(config.kv_cache_dtype, info.checkpoint_dtype, device))),
          .attention_form = describe_attention(layout),
          .max_position_embeddings = info.max_position_embeddings};
}

Error no_probabilities(std::string_view what) {
  return {ErrorCode::kInternal, fmt::format("the model gave no usable probabilities for the {}", what)};
}

// Batch sizes that get a graph of their own; a batch between two of them is padded to the larger.
std::vector<int> graph_sizes(int max_num_seqs) {
  std::vector<int> sizes;
  for (int size = 1; size < max_num_seqs; size += size < 2 ? 1 : size < 4 ? 2 : size < 8 ? 4 : size < 64 ? 8 : size < 256 ? 16 : 64)
    sizes.push_back(size);
  sizes.push_back(max_num_seqs);
  return sizes;
}

void log_lines(const std::string& text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    log_info("{}", text.substr(begin, end - begin));
    begin = end + 1;
  }
}

// Memory and machinery of a step, all taken before serving.
struct StepState {
  std::unique_ptr<Stream> stream;
  Arena workspace, kv_memory, logits_memory, attention_memory;
  KvStore kv;
  Staging row_list;
  std::unique_ptr<BatchBuilder> batch;
  std::unique_ptr<Sampler> sampler;
};

class ModelExecutor final : public Executor {
 public:
  ModelExecutor(std::unique_ptr<Model> model, Device& device, const OpTable& table, Info info, StepState state, bool uses_graphs)
      : model_(std::move(model)), info_(std::move(info)), state_(std::move(state)), ops_{*state_.stream, table, device.caps()},
        max_in_flight_(gale::max_in_flight(device)) {
    if (device.caps().kind == DeviceKind::kCpu) ops_.trace = &progress_trace_;   // elsewhere an op only enters a queue
    attention_scratch_ = state_.attention_memory.allocate(DType::kU8, {static_cast<int64_t>(state_.attention_memory.capacity_bytes())});
    if (uses_graphs) capture_graphs();
  }

  [[nodiscard]] const Info& info() const override { return info_; }
  [[nodiscard]] int max_in_flight() const override { return max_in_flight_; }
  [[nodiscard]] Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler& scheduler) override {
    GALE_TRY(submit(plan, scheduler));
    return collect();
  }
  [[nodiscard]] Status submit(const Plan& plan, const Scheduler& scheduler) override;
  [[nodiscard]] Result<std::vector<SequenceResult>> collect() override;

 private:
  class ProgressTrace final : public OpTrace {
   public:
    explicit ProgressTrace(const ModelExecutor& executor) : executor_(executor) {}
    void ran(std::string_view, std::string_view) override { executor_.tell_progress(); }

   private:
    const ModelExecutor& executor_;
  };
  // A step whose tokens the device may still be drawing.
  struct Pending {
    std::vector<SequenceResult> results;           // by index in the plan; all but the plain tokens
    std::vector<size_t> drawn;                     // the plain ones: index in the plan of each token
    std::span<const TokenId> tokens;
    std::unique_ptr<StreamEvent> is_done;
  };
  // A row of hidden states whose logits a prompt wants.
  [[nodiscard]] Tensor logits_memory(int64_t num_rows);
  [[nodiscard]] ForwardContext context();
  [[nodiscard]] SamplerRow row_of(const ScheduledSequence& scheduled, const Scheduler& scheduler) const;
  [[nodiscard]] Tensor compute(const Plan& plan, const Scheduler& scheduler, Pending& pending);
  void draw(const Tensor& logits, const Plan& plan, const Scheduler& scheduler, Pending& pending);
  void look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence,
                 int first_row, SequenceResult& result);
  [[nodiscard]] int graph_size(const Plan& plan) const;
  void capture_graphs();

  std::unique_ptr<Model> model_;
  Info info_;
  StepState state_;
  ProgressTrace progress_trace_{*this};
  OpContext ops_;
  int max_in_flight_;
  Tensor attention_scratch_;
  std::map<int, std::unique_ptr<Graph>> graphs_;   // by number of rows
  std::deque<Pending> pending_;
};

Tensor ModelExecutor::logits_memory(int64_t num_rows) {
  state_.logits_memory.reset();
  return state_.logits_memory.allocate(DType::kF32, {num_rows, info_.vocab_size});
}

ForwardContext ModelExecutor::context() {
  state_.workspace.reset();
  AttentionMetadata attention = state_.batch->attention();
  attention.workspace = attention_scratch_;
  return {.ops = ops_,
          .workspace = state_.workspace,
          .attention = attention,
          .kv = state_.kv,
          .token_ids = state_.batch->token_ids(),
          .last_tokens = state_.sampler->last_tokens()};
}

SamplerRow ModelExecutor::row_of(const ScheduledSequence& scheduled, const Scheduler& scheduler) const {
  const Sequence& sequence = scheduler.sequence(scheduled.id);
  const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
  return {.sampling = &sequence.request.sampling,
          .stop = &sequence.request.stop,
          .tokens = sequence.tokens,
          .num_prompt_tokens = sequence.num_prompt_tokens,
          .num_pending = scheduled.wants_token ? end - sequence.num_tokens() : 0,
          .slot = scheduled.slot.value,
          .constraint = sequence.constraint.get()};
}

Status ModelExecutor::submit(const Plan& plan, const Scheduler& scheduler) {
  CHECK(static_cast<int>(pending_.size()) < max_in_flight_, "{} steps are under way", pending_.size());
  Pending& pending = pending_.emplace_back();
  pending.results.resize(plan.sequences.size());
  const Tensor logits = compute(plan, scheduler, pending);
  if (!logits.is_empty()) draw(logits, plan, scheduler, pending);
  pending.is_done = state_.stream->record();
  return {};
}

// The step's forward pass; logits of the rows of batch->drawn(), padded or not.
Tensor ModelExecutor::compute(const Plan& plan, const Scheduler& scheduler, Pending& pending) {
  std::vector<bool> is_special;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    CHECK(scheduled.draft_tokens.empty(), "nobody proposes drafts to this executor");
    is_special.push_back(!Sampler::is_plain(row_of(scheduled, scheduler)));
  }
  const int num_rows = graph_size(plan);
  state_.batch->build(*state_.stream, plan, scheduler, is_special, num_rows);
  if (num_rows > 0) {
    state_.stream->launch(*graphs_.at(num_rows));
    return logits_memory(num_rows);
  }
  ForwardContext context = this->context();
  const Tensor hidden = model_->forward(context);   // [T, H]
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    if (plan.sequences[i].prompt_logprobs.is_empty()) continue;
    look_back(context, hidden, plan.sequences[i], scheduler.sequence(plan.sequences[i].id), state_.batch->first_row(i), pending.results[i]);
  }
  const Tensor& rows = state_.batch->logit_rows();
  if (rows.is_empty()) return {};
  const Tensor logits = logits_memory(rows.shape[0]);
  model_->logits(context, hidden, rows, logits);
  return logits;
}

void ModelExecutor::draw(const Tensor& logits, const Plan& plan, const Scheduler& scheduler, Pending& pending) {
  const std::span<const size_t> drawn = state_.batch->drawn();
  std::vector<SamplerRow> rows;
  for (const size_t index : drawn) rows.push_back(row_of(plan.sequences[index], scheduler));
  const auto num_plain = static_cast<size_t>(state_.batch->num_plain_rows());
  pending.drawn.assign(drawn.begin(), drawn.begin() + static_cast<std::ptrdiff_t>(num_plain));
  pending.tokens = state_.sampler->draw(ops_, logits.slice(0, 0, static_cast<int64_t>(num_plain)), std::span(rows).first(num_plain));
  for (size_t begin = num_plain; begin < rows.size(); begin += Sampler::kMaxRows) {
    const size_t end = std::min(rows.size(), begin + Sampler::kMaxRows);
    const Tensor part = logits.slice(0, static_cast<int64_t>(begin), static_cast<int64_t>(end));
    std::vector<SampledToken> told = state_.sampler->sample(ops_, part, std::span(rows).subspan(begin, end - begin));
    for (size_t r = begin; r < end; ++r) {
      SequenceResult& result = pending.results[drawn[r]];
      SampledToken& token = told[r - begin];
      if (!token.is_valid) result.error = no_probabilities("next token");
      if (token.error) result.error = std::move(token.error);
      if (result.error) continue;
      result.tokens = {token.token};
      if (token.logprobs) result.logprobs.push_back(std::move(*token.logprobs));
    }
  }
}

Result<std::vector<SequenceResult>> ModelExecutor::collect() {
  CHECK(!pending_.empty(), "no step is under way");
  Pending pending = std::move(pending_.front());
  pending_.pop_front();
  pending.is_done->wait();
  for (size_t i = 0; i < pending.drawn.size(); ++i) {
    SequenceResult& result = pending.results[pending.drawn[i]];
    const TokenId token = pending.tokens[i];
    if (token < 0) result.error = no_probabilities("next token");
    if (!result.error) result.tokens = {token};
  }
  return std::move(pending.results);
}

void ModelExecutor::look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence,
                              int first_row, SequenceResult& result) {
  const PromptRange range = scheduled.prompt_logprobs;
  for (int begin = range.first; begin < range.end; begin += Sampler::kMaxRows) {
    const int end = std::min(range.end, begin + Sampler::kMaxRows);
    std::vector<int32_t> rows;
    for (int target = begin; target < end; ++target) rows.push_back(first_row + target - 1 - scheduled.num_computed_tokens);
    state_.row_list.reset();
    const Tensor logits = logits_memory(std::ssize(rows));
    model_->logits(context, hidden, state_.row_list.upload(*state_.stream, rows), logits);
    const std::span<const TokenId> targets = std::span(sequence.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    for (TokenLogprobs& logprobs : state_.sampler->logprobs_of(ops_, logits, targets, sequence.request.sampling.num_prompt_logprobs)) {
      if (std::isnan(logprobs.chosen.logprob)) result.error = no_probabilities("prompt");
      result.prompt_logprobs.push_back(std::move(logprobs));
    }
  }
}

// The rows of the graph that runs this plan; 0: none does.
int ModelExecutor::graph_size(const Plan& plan) const {
  const auto found = graphs_.lower_bound(static_cast<int>(plan.sequences.size()));
  if (found == graphs_.end()) return 0;
  const bool is_decode = std::ranges::all_of(plan.sequences, [](const ScheduledSequence& scheduled) {
    return scheduled.num_scheduled_tokens == 1 && scheduled.wants_token && scheduled.prompt_logprobs.is_empty();
  });
  return is_decode ? found->first : 0;
}

void ModelExecutor::capture_graphs() {
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  const Plan nothing;
  const Scheduler nobody(info_.scheduler);
  for (const int num_rows : graph_sizes(info_.scheduler.max_num_seqs)) {
    const auto step = [&] {
      ForwardContext context = this->context();
      const Tensor hidden = model_->forward(context);
      model_->logits(context, hidden, state_.batch->logit_rows(), logits_memory(num_rows));
    };
    state_.batch->build(*state_.stream, nothing, nobody, {}, num_rows);
    step();                                       // loads what is loaded at first use: not allowed while capturing
    state_.stream->synchronize();
    state_.stream->begin_capture();
    step();
    graphs_.emplace(num_rows, state_.stream->end_capture());
  }
  log_info("Graph capturing finished in {:.1f} secs: {} batch sizes up to {}", seconds(clock.now() - begin), graphs_.size(),
           info_.scheduler.max_num_seqs);
}

Result<StepState> take_memory(const Model& model, const EngineConfig& config, const SchedulerConfig& scheduler, Device& device,
                              const OpTable& table) {
  const DType dtype = kv_cache_dtype(config.kv_cache_dtype, model.info().checkpoint_dtype, device);
  const KvLayout layout = model.kv_layout();
  const size_t kv_bytes = kv_store_bytes(layout, dtype, scheduler.num_blocks, scheduler.block_size);
  std::unique_ptr<Stream> stream = device.make_stream();
  GALE_ASSIGN(Arena workspace, Arena::create(device, MemoryKind::kDevice,
                                             model.workspace_bytes(max_step_tokens(scheduler), max_logit_rows(scheduler))));
  GALE_ASSIGN(Arena logits, Arena::create(device, MemoryKind::kDevice, logits_bytes(model.info(), scheduler)));
  GALE_ASSIGN(Arena attention, Arena::create(device, MemoryKind::kDevice, attention_bytes(model, {*stream, table, device.caps()}, scheduler)));
  GALE_ASSIGN(Staging row_list, Staging::create(device, row_list_bytes()));
  GALE_ASSIGN(std::unique_ptr<BatchBuilder> batch, BatchBuilder::create(device, scheduler, max_in_flight(device)));
  GALE_ASSIGN(std::unique_ptr<Sampler> sampler, Sampler::create(device, sampler_options(model.info(), config, scheduler, device)));
  GALE_ASSIGN(Arena kv_memory, Arena::create(device, MemoryKind::kDevice, kv_bytes));
  KvStore kv = allocate_kv_store(kv_memory, layout, dtype, scheduler.num_blocks, scheduler.block_size);
  return StepState{.stream = std::move(stream),
                   .workspace = std::move(workspace),
                   .kv_memory = std::move(kv_memory),
                   .logits_memory = std::move(logits),
                   .attention_memory = std::move(attention),
                   .kv = std::move(kv),
                   .row_list = std::move(row_list),
                   .batch = std::move(batch),
                   .sampler = std::move(sampler)};
}

Result<std::unique_ptr<Executor>> make_executor(std::unique_ptr<Model> model, const EngineConfig& config, Device& device, const OpTable& table,
                                                double load_seconds) {
  MemoryDemand demand = demand_of(model->info(), model->kv_layout(), config, device);
  demand.workspace_bytes = static_cast<int64_t>(step_bytes(*model, config, config.scheduler, device, table));
  GALE_ASSIGN(const MemoryPlan plan, plan_memory(demand, config));
  log_lines(plan.describe());
  GALE_ASSIGN(StepState state, take_memory(*model, config, plan.scheduler, device, table));
  Executor::Info info{.model_name = model->info().architecture,
                      .vocab_size = model->info().vocab_size,
                      .scheduler = plan.scheduler,
                      .load_seconds = load_seconds};
  const bool uses_graphs = device.caps().has_graphs && !config.enforce_eager;
  return std::unique_ptr<Executor>(
      new ModelExecutor(std::move(model), device, table, std::move(info), std::move(state), uses_graphs));
}

// Before bytes are read: does the checkpoint fit at all?
Status announce(const EngineConfig& config, const Device& device) {
  GALE_TRY(check_precision(config, device));
  GALE_ASSIGN(const ModelPlan plan, plan_model(config.model_dir, config.load_format == LoadFormat::kDummy));
  const MemoryDemand demand = demand_of(plan.info, plan.kv_layout, config, device);
  log_info("Model {}: {:.2f} GiB of weights, {} bytes of KV cache a token ({}), {:.2f} GiB of memory free", plan.info.architecture,
           static_cast<double>(demand.weight_bytes) / (1 << 30), demand.kv_bytes_per_token, demand.attention_form,
           static_cast<double>(demand.free_bytes) / (1 << 30));
  if (demand.weight_bytes <= demand.free_bytes) return {};
  return fail(ErrorCode::kOutOfMemory, "the weights of {} take {:.2f} GiB, {:.2f} GiB more than is free; free memory or take a smaller model",
              config.model_dir, static_cast<double>(demand.weight_bytes) / (1 << 30),
              static_cast<double>(demand.weight_bytes - demand.free_bytes) / (1 << 30));
}

}  // namespace

Result<std::unique_ptr<Executor>> make_executor_for(std::unique_ptr<Model> model, const EngineConfig& config, Device& device,
                                                    const OpTable& ops) {
  return make_executor(std::move(model), config, device, ops, 0);
}

Result<std::unique_ptr<Executor>> make_model_executor(const EngineConfig& config, Device& device, const OpTable& ops,
                                                      const std::function<void(double fraction)>& on_progress) {
  GALE_TRY(announce(config, device));
  const SteadyClock clock;
  const TimePoint begin = clock.now();
  const std::unique_ptr<Stream> stream = device.make_stream();
  OpContext context{*stream, ops, device.caps()};
  GALE_ASSIGN(std::unique_ptr<Model> model,
              load_model({.model_dir = config.model_dir, .device = &device, .ops = &context,
                          .weight_format = config.quantization == Quantization::kFp8 ? WeightFormat::kF8E4M3 : WeightFormat::kAsIs,
                          .is_dummy = config.load_format == LoadFormat::kDummy, .on_progress = on_progress}));
  stream->synchronize();
  const double load_seconds = seconds(clock.now() - begin);
  log_info("Loading weights took {:.2f} seconds", load_seconds);
  log_info("Model loading took {:.2f} GiB memory and {:.2f} seconds", static_cast<double>(model->info().weight_bytes) / (1 << 30), load_seconds);
  return make_executor(std::move(model), config, device, ops, load_seconds);
}

}  // namespace gale
