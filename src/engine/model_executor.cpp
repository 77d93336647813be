#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "engine/engine.h"
#include "engine/step_memory_internal.h"

namespace gale {
namespace {

Error no_probabilities(std::string_view what) {
  return {
      ErrorCode::kInternal,
      fmt::format("the model's logits for the {} hold a NaN or an infinity, or nothing finite: no token can be drawn "
                  "from them. Only this request failed",
                  what),
      "model"};
}

// Batch sizes that get a graph of their own; a batch between two of them is padded to the larger.
std::vector<int> graph_sizes(int max_num_seqs) {
  std::vector<int> sizes;
  const auto step = [](int size) {
    return size < 2 ? 1 : size < 4 ? 2 : size < 8 ? 4 : size < 64 ? 8 : size < 256 ? 16 : 64;
  };
  for (int size = 1; size < max_num_seqs; size += step(size)) sizes.push_back(size);
  sizes.push_back(max_num_seqs);
  return sizes;
}

class ModelExecutor final : public Executor {
 public:
  ModelExecutor(std::unique_ptr<Model> model, Device& device, const OpTable& table, Info info, StepState state,
                bool uses_graphs)
      : device_(device),
        model_(std::move(model)),
        info_(std::move(info)),
        state_(std::move(state)),
        ops_{*state_.stream, table, device.caps()},
        max_in_flight_(gale::max_in_flight(device)) {
    if (device.caps().kind == DeviceKind::kCpu) ops_.trace = &progress_trace_;   // elsewhere an op only enters a queue
    attention_scratch_ =
        state_.attention_memory.allocate(DType::kU8, {static_cast<int64_t>(state_.attention_memory.capacity_bytes())});
    layered_hidden_ = state_.layered_memory.allocate(
        device.caps().activation_dtype, {info_.scheduler.max_layered_tokens, model_->info().hidden_size});
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
  void look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled,
                 const Sequence& sequence, int first_row, SequenceResult& result);
  void pool(const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence, int first_row,
            SequenceResult& result);
  [[nodiscard]] int graph_size(const Plan& plan) const;
  void capture_graphs();

  Device& device_;
  std::unique_ptr<Model> model_;
  Info info_;
  StepState state_;
  ProgressTrace progress_trace_{*this};
  OpContext ops_;
  int max_in_flight_;
  Tensor attention_scratch_, layered_hidden_;
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
  if (const ScheduledSequence* piece = plan.layered()) {
    context.layered = {.num_rows = piece->num_scheduled_tokens,
                       .first_layer = piece->layers->first,
                       .end_layer = piece->layers->end,
                       .hidden = layered_hidden_.slice(0, 0, piece->num_scheduled_tokens)};
  }
  const Tensor& rows = state_.batch->logit_rows();
  const bool reads_prompts = std::ranges::any_of(plan.sequences, [&](const ScheduledSequence& scheduled) {
    return scheduler.sequence(scheduled.id).is_pooled() || !scheduled.prompt_logprobs.is_empty();
  });
  if (!reads_prompts && plan.layered() == nullptr && rows.shape[0] < context.token_ids.shape[0])
    context.wanted = {.rows = rows, .attention = state_.batch->logit_attention()};
  const Tensor hidden = model_->forward(context);   // [T, H], or [R, H] of the wanted rows
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    const ScheduledSequence& scheduled = plan.sequences[i];
    const Sequence& sequence = scheduler.sequence(scheduled.id);
    const int first_row = state_.batch->first_row(i);
    if (sequence.is_pooled()) pool(hidden, scheduled, sequence, first_row, pending.results[i]);
    if (scheduled.prompt_logprobs.is_empty()) continue;
    look_back(context, hidden, scheduled, sequence, first_row, pending.results[i]);
  }
  if (rows.is_empty()) return {};
  const Tensor logits = logits_memory(rows.shape[0]);
  model_->logits(context, hidden, context.wanted ? Tensor{} : rows, logits);
  return logits;
}

void ModelExecutor::draw(const Tensor& logits, const Plan& plan, const Scheduler& scheduler, Pending& pending) {
  const std::span<const size_t> drawn = state_.batch->drawn();
  std::vector<SamplerRow> rows;
  for (const size_t index : drawn) rows.push_back(row_of(plan.sequences[index], scheduler));
  const auto num_plain = static_cast<size_t>(state_.batch->num_plain_rows());
  pending.drawn.assign(drawn.begin(), drawn.begin() + static_cast<std::ptrdiff_t>(num_plain));
  pending.tokens =
      state_.sampler->draw(ops_, logits.slice(0, 0, static_cast<int64_t>(num_plain)), std::span(rows).first(num_plain));
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

void ModelExecutor::look_back(ForwardContext& context, const Tensor& hidden, const ScheduledSequence& scheduled,
                              const Sequence& sequence, int first_row, SequenceResult& result) {
  const PromptRange range = scheduled.prompt_logprobs;
  for (int begin = range.first; begin < range.end; begin += Sampler::kMaxRows) {
    const int end = std::min(range.end, begin + Sampler::kMaxRows);
    std::vector<int32_t> rows;
    for (int target = begin; target < end; ++target)
      rows.push_back(first_row + target - 1 - scheduled.num_computed_tokens);
    state_.row_list.reset();
    const Tensor logits = logits_memory(std::ssize(rows));
    model_->logits(context, hidden, state_.row_list.upload(*state_.stream, rows), logits);
    const std::span<const TokenId> targets =
        std::span(sequence.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    for (TokenLogprobs& logprobs :
         state_.sampler->logprobs_of(ops_, logits, targets, sequence.request.sampling.num_prompt_logprobs)) {
      if (std::isnan(logprobs.chosen.logprob)) result.error = no_probabilities("prompt");
      result.prompt_logprobs.push_back(std::move(logprobs));
    }
  }
}

void ModelExecutor::pool(const Tensor& hidden, const ScheduledSequence& scheduled, const Sequence& sequence,
                         int first_row, SequenceResult& result) {
  const int num_rows = scheduled.num_scheduled_tokens;
  const int slot = scheduled.slot.value;
  if (scheduled.is_new) state_.pooler.start(slot);
  if (sequence.request.pooling == Pooling::kMean) {
    state_.pooler.add(*state_.stream, slot, hidden.slice(0, first_row, first_row + num_rows));
  } else if (scheduled.wants_pooled) {
    state_.pooler.add(*state_.stream, slot, hidden.slice(0, first_row + num_rows - 1, first_row + num_rows));
  }
  if (!scheduled.wants_pooled) return;
  result.pooled = state_.pooler.take(slot);
  const bool is_finite = std::ranges::all_of(result.pooled, [](float value) { return std::isfinite(value); });
  if (!is_finite) {
    result.error = Error{ErrorCode::kInternal,
                         "the model's hidden states hold a NaN or an infinity. Only this request failed", "model"};
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
  const size_t free_before = device_.memory().free_bytes;
  const Plan nothing;
  const Scheduler nobody(info_.scheduler);
  for (const int num_rows : graph_sizes(info_.scheduler.max_num_seqs)) {
    const auto step = [&] {
      ForwardContext context = this->context();
      const Tensor hidden = model_->forward(context);
      model_->logits(context, hidden, {}, logits_memory(num_rows));   // all are wanted, in their order
    };
    state_.batch->build(*state_.stream, nothing, nobody, {}, num_rows);
    step();                                       // loads what is loaded at first use: not allowed while capturing
    state_.stream->synchronize();
    state_.stream->begin_capture();
    step();
    graphs_.emplace(num_rows, state_.stream->end_capture());
  }
  const size_t free_after = device_.memory().free_bytes;
  log_info("Graph capturing finished in {:.1f} secs, took {:.2f} GiB: {} batch sizes up to {}",
           seconds(clock.now() - begin), gib(static_cast<int64_t>(free_before - std::min(free_before, free_after))),
           graphs_.size(), info_.scheduler.max_num_seqs);
}

}  // namespace

std::unique_ptr<Executor> make_model_executor_of(std::unique_ptr<Model> model, Device& device, const OpTable& ops,
                                                 Executor::Info info, StepState state, bool uses_graphs) {
  return std::make_unique<ModelExecutor>(std::move(model), device, ops, std::move(info), std::move(state), uses_graphs);
}

}  // namespace gale
