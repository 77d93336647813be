#include <algorithm>
#include <cmath>
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

DType kv_dtype(KvCacheDType wanted, DType checkpoint) {
  switch (wanted) {
    case KvCacheDType::kBF16: return DType::kBF16;
    case KvCacheDType::kF32: return DType::kF32;
    case KvCacheDType::kAuto: break;
  }
  return checkpoint == DType::kF32 ? DType::kF32 : DType::kBF16;
}

Sampler::Options sampler_options(const ModelInfo& model, const EngineConfig& config, int max_model_len) {
  const int num_valid = config.num_valid_tokens > 0 ? std::min(config.num_valid_tokens, model.vocab_size) : model.vocab_size;
  return {.vocab_size = model.vocab_size, .num_valid_tokens = num_valid, .max_model_len = max_model_len};
}

size_t logits_bytes(const ModelInfo& model) { return size_t{Sampler::kMaxRows} * static_cast<size_t>(model.vocab_size) * sizeof(float); }
size_t row_list_bytes() { return Arena::padded(Sampler::kMaxRows * sizeof(int32_t)); }

// What a step needs beside weights and cache.
size_t step_bytes(const Model& model, const EngineConfig& config, SchedulerConfig scheduler) {
  if (scheduler.max_model_len == 0) scheduler.max_model_len = model.info().max_position_embeddings;
  if (scheduler.block_size == 0) scheduler.block_size = 16;
  return model.workspace_bytes(scheduler.max_num_batched_tokens, Sampler::kMaxRows) + logits_bytes(model.info()) + row_list_bytes() +
         BatchBuilder::num_bytes(scheduler) + Sampler::num_bytes(sampler_options(model.info(), config, scheduler.max_model_len));
}

MemoryDemand demand_of(const ModelInfo& info, const KvLayout& layout, const EngineConfig& config, const Device& device) {
  const DeviceMemory memory = device.memory();
  return {.is_gpu = device.caps().kind == DeviceKind::kCuda,
          .total_bytes = static_cast<int64_t>(memory.total_bytes),
          .free_bytes = static_cast<int64_t>(memory.free_bytes),
          .weight_bytes = static_cast<int64_t>(info.weight_bytes),
          .kv_bytes_per_token = layout.elements_per_token() *
                                static_cast<int64_t>(size_of(kv_dtype(config.kv_cache_dtype, info.checkpoint_dtype))),
          .attention_form = describe_attention(layout),
          .max_position_embeddings = info.max_position_embeddings};
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
  Arena workspace, kv_memory, logits_memory;
  KvStore kv;
  Staging row_list;
  std::unique_ptr<BatchBuilder> batch;
  std::unique_ptr<Sampler> sampler;
};

class ModelExecutor final : public Executor {
 public:
  ModelExecutor(std::unique_ptr<Model> model, Device& device, const OpTable& table, Info info, StepState state)
      : model_(std::move(model)), info_(std::move(info)), state_(std::move(state)), ops_{*state_.stream, table, device.caps()} {}

  [[nodiscard]] const Info& info() const override { return info_; }
  [[nodiscard]] Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler& scheduler) override;

 private:
  // What a token of this step asks of its row of hidden states.
  struct Row {
    size_t sequence = 0;               // index in the plan
    int hidden_row = 0;
  };
  [[nodiscard]] Tensor logits_of(ForwardContext& context, const Tensor& hidden, std::span<const Row> rows);
  void draw(ForwardContext& context, const Tensor& hidden, const Plan& plan, const Scheduler& scheduler, std::vector<SequenceResult>& results);
  void look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence,
                 int first_row, SequenceResult& result);

  std::unique_ptr<Model> model_;
  Info info_;
  StepState state_;
  OpContext ops_;
};

Result<std::vector<SequenceResult>> ModelExecutor::execute(const Plan& plan, const Scheduler& scheduler) {
  state_.batch->build(*state_.stream, plan, scheduler);
  state_.workspace.reset();
  ForwardContext context{.ops = ops_,
                         .workspace = state_.workspace,
                         .attention = state_.batch->attention(),
                         .kv = state_.kv,
                         .token_ids = state_.batch->token_ids()};
  const Tensor hidden = model_->forward(context);   // [T, H]
  std::vector<SequenceResult> results(plan.sequences.size());
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    if (plan.sequences[i].prompt_logprobs.is_empty()) continue;
    look_back(context, hidden, plan.sequences[i], scheduler.sequence(plan.sequences[i].id), state_.batch->first_row(i), results[i]);
  }
  draw(context, hidden, plan, scheduler, results);
  state_.stream->synchronize();
  return results;
}

Tensor ModelExecutor::logits_of(ForwardContext& context, const Tensor& hidden, std::span<const Row> rows) {
  std::vector<int32_t> hidden_rows;
  for (const Row& row : rows) hidden_rows.push_back(row.hidden_row);
  state_.row_list.reset();
  state_.logits_memory.reset();
  const Tensor logits = state_.logits_memory.allocate(DType::kF32, {static_cast<int64_t>(rows.size()), info_.vocab_size});
  model_->logits(context, hidden, state_.row_list.upload(*state_.stream, hidden_rows), logits);
  return logits;
}

void ModelExecutor::draw(ForwardContext& context, const Tensor& hidden, const Plan& plan, const Scheduler& scheduler,
                         std::vector<SequenceResult>& results) {
  std::vector<Row> rows;
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    const ScheduledSequence& scheduled = plan.sequences[i];
    CHECK(scheduled.draft_tokens.empty(), "nobody proposes drafts to this executor");
    if (scheduled.wants_token) rows.push_back({i, state_.batch->first_row(i) + scheduled.num_scheduled_tokens - 1});
  }
  for (size_t begin = 0; begin < rows.size(); begin += Sampler::kMaxRows) {
    const auto part = std::span(rows).subspan(begin, std::min<size_t>(Sampler::kMaxRows, rows.size() - begin));
    std::vector<SamplerRow> histories;
    for (const Row& row : part) {
      const Sequence& sequence = scheduler.sequence(plan.sequences[row.sequence].id);
      histories.push_back({.sampling = &sequence.request.sampling,
                           .stop = &sequence.request.stop,
                           .tokens = sequence.tokens,
                           .num_prompt_tokens = sequence.num_prompt_tokens});
    }
    std::vector<SampledToken> drawn = state_.sampler->sample(ops_, logits_of(context, hidden, part), histories);
    for (size_t r = 0; r < part.size(); ++r) {
      SequenceResult& result = results[part[r].sequence];
      if (!drawn[r].is_valid) result.error = Error{ErrorCode::kInternal, "the model gave no usable probabilities for the next token"};
      if (result.error) continue;
      result.tokens = {drawn[r].token};
      if (drawn[r].logprobs) result.logprobs.push_back(std::move(*drawn[r].logprobs));
    }
  }
}

void ModelExecutor::look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence,
                              int first_row, SequenceResult& result) {
  const PromptRange range = scheduled.prompt_logprobs;
  for (int begin = range.first; begin < range.end; begin += Sampler::kMaxRows) {
    const int end = std::min(range.end, begin + Sampler::kMaxRows);
    std::vector<Row> rows;
    for (int target = begin; target < end; ++target) rows.push_back({0, first_row + target - 1 - scheduled.num_computed_tokens});
    const std::span<const TokenId> targets = std::span(sequence.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    for (TokenLogprobs& logprobs : state_.sampler->logprobs_of(ops_, logits_of(context, hidden, rows), targets,
                                                               sequence.request.sampling.num_prompt_logprobs)) {
      if (std::isnan(logprobs.chosen.logprob)) result.error = Error{ErrorCode::kInternal, "the model gave no usable probabilities for the prompt"};
      result.prompt_logprobs.push_back(std::move(logprobs));
    }
  }
}

Result<StepState> take_memory(const Model& model, const EngineConfig& config, const SchedulerConfig& scheduler, Device& device) {
  const DType dtype = kv_dtype(config.kv_cache_dtype, model.info().checkpoint_dtype);
  const KvLayout layout = model.kv_layout();
  const size_t kv_bytes = kv_store_bytes(layout, dtype, scheduler.num_blocks, scheduler.block_size);
  GALE_ASSIGN(Arena workspace, Arena::create(device, MemoryKind::kDevice,
                                             model.workspace_bytes(scheduler.max_num_batched_tokens, Sampler::kMaxRows)));
  GALE_ASSIGN(Arena logits, Arena::create(device, MemoryKind::kDevice, logits_bytes(model.info())));
  GALE_ASSIGN(Staging row_list, Staging::create(device, row_list_bytes()));
  GALE_ASSIGN(std::unique_ptr<BatchBuilder> batch, BatchBuilder::create(device, scheduler));
  GALE_ASSIGN(std::unique_ptr<Sampler> sampler,
              Sampler::create(device, sampler_options(model.info(), config, scheduler.max_model_len)));
  GALE_ASSIGN(Arena kv_memory, Arena::create(device, MemoryKind::kDevice, kv_bytes));
  KvStore kv = allocate_kv_store(kv_memory, layout, dtype, scheduler.num_blocks, scheduler.block_size);
  return StepState{.stream = device.make_stream(),
                   .workspace = std::move(workspace),
                   .kv_memory = std::move(kv_memory),
                   .logits_memory = std::move(logits),
                   .kv = std::move(kv),
                   .row_list = std::move(row_list),
                   .batch = std::move(batch),
                   .sampler = std::move(sampler)};
}

Result<std::unique_ptr<Executor>> make_executor(std::unique_ptr<Model> model, const EngineConfig& config, Device& device, const OpTable& table,
                                                double load_seconds) {
  MemoryDemand demand = demand_of(model->info(), model->kv_layout(), config, device);
  demand.workspace_bytes = static_cast<int64_t>(step_bytes(*model, config, config.scheduler));
  GALE_ASSIGN(const MemoryPlan plan, plan_memory(demand, config));
  log_lines(plan.describe());
  GALE_ASSIGN(StepState state, take_memory(*model, config, plan.scheduler, device));
  Executor::Info info{.model_name = model->info().architecture,
                      .vocab_size = model->info().vocab_size,
                      .scheduler = plan.scheduler,
                      .load_seconds = load_seconds};
  return std::unique_ptr<Executor>(new ModelExecutor(std::move(model), device, table, std::move(info), std::move(state)));
}

// Before bytes are read: does the checkpoint fit at all?
Status announce(const EngineConfig& config, const Device& device) {
  GALE_ASSIGN(const ModelPlan plan, plan_model(config.model_dir));
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
              load_model({.model_dir = config.model_dir, .device = &device, .ops = &context, .on_progress = on_progress}));
  stream->synchronize();
  const double load_seconds = seconds(clock.now() - begin);
  log_info("Loading weights took {:.2f} seconds", load_seconds);
  log_info("Model loading took {:.2f} GiB memory and {:.2f} seconds", static_cast<double>(model->info().weight_bytes) / (1 << 30), load_seconds);
  return make_executor(std::move(model), config, device, ops, load_seconds);
}

}  // namespace gale
