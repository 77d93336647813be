#include "engine/scripted_executor.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <unordered_map>

#include "base/log.h"
#include "engine/memory_plan.h"

namespace gale {
namespace {

constexpr int kHiddenSize = 16;                 // of pooled vectors
constexpr int kDefaultTokensInPool = 1 << 18;   // KV "memory" of the scripted engine: block ids, no bytes

Duration milliseconds_of(double ms) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

TokenLogprobs made_up_logprobs(TokenId token, int num_top, int vocab_size) {
  TokenLogprobs out{.chosen = {token, -0.25F, 1}};
  for (int i = 0; i < num_top; ++i)
    out.top.push_back({(token + i) % vocab_size, -0.25F - static_cast<float>(i), i + 1});
  return out;
}

// A vector that tokens decide, all of them or the last alone.
std::vector<float> made_up_vector(std::span<const TokenId> tokens, Pooling pooling) {
  std::vector<float> out(kHiddenSize);
  const std::span<const TokenId> pooled = pooling == Pooling::kMean ? tokens : tokens.last(1);
  for (const TokenId token : pooled) {
    for (int i = 0; i < kHiddenSize; ++i) {
      out[static_cast<size_t>(i)] +=
          static_cast<float>((token * 31 + i * 17) % 101 - 50) / static_cast<float>(pooled.size());
    }
  }
  return out;
}

// True if the fault has happened in an earlier life; else leaves the sign that it happens now.
bool has_left_marker(const std::string& path) {
  if (path.empty()) return false;
  std::FILE* file = std::fopen(path.c_str(), "wx");
  if (file == nullptr) {
    if (errno != EEXIST) log_error("marker {} cannot be made; the fault happens in every life", path);
    return errno == EEXIST;
  }
  std::fclose(file);
  return false;
}

class ScriptedExecutor final : public Executor {
 public:
  ScriptedExecutor(Script script, Info info, std::function<void(Duration)> sleep)
      : script_(std::move(script)),
        info_(std::move(info)),
        sleep_(std::move(sleep)),
        fault_is_over_(script_.faults.size()) {}

  [[nodiscard]] const Info& info() const override { return info_; }
  [[nodiscard]] Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler& scheduler) override;

 private:
  struct Known { int64_t order = 0; const ScriptReply* reply = nullptr; };

  const Known& know(const Sequence& sequence);
  [[nodiscard]] bool is_victim(const ScriptFault& fault, const Sequence& sequence);
  [[nodiscard]] Status apply_faults(const Plan& plan, const Scheduler& scheduler, std::vector<SequenceResult>& results);
  [[nodiscard]] Status happen(const ScriptFault& fault, SequenceResult* victim);
  void compute(const ScheduledSequence& scheduled, const Sequence& sequence, SequenceResult& result);
  [[nodiscard]] std::optional<TokenId> nearest_allowed(const Sequence& sequence, TokenId token,
                                                       SequenceResult& result) const;
  [[nodiscard]] Duration time_of(const Plan& plan, const Scheduler& scheduler);
  void forget_the_gone(const Scheduler& scheduler);

  Script script_;
  Info info_;
  std::function<void(Duration)> sleep_;
  std::vector<char> fault_is_over_;
  std::unordered_map<RequestId, Known> known_;
  int64_t next_order_ = 0;
  uint64_t num_tokens_given_ = 0;
};

const ScriptedExecutor::Known& ScriptedExecutor::know(const Sequence& sequence) {
  const auto [entry, is_new] = known_.try_emplace(sequence.request.id);
  Known& known = entry->second;
  if (!is_new) return known;
  known.order = next_order_++;
  const auto found = std::ranges::find_if(script_.requests, [&](const ScriptRequest& request) {
    return request.match.holds(known.order, sequence.tokens, sequence.num_prompt_tokens);
  });
  known.reply = found == script_.requests.end() ? &script_.default_reply : &found->reply;
  return known;
}

void ScriptedExecutor::forget_the_gone(const Scheduler& scheduler) {
  if (known_.size() <= 4 * static_cast<size_t>(info_.scheduler.max_num_seqs)) return;
  std::erase_if(known_, [&](const auto& entry) { return !scheduler.is_live(entry.first); });
}

bool ScriptedExecutor::is_victim(const ScriptFault& fault, const Sequence& sequence) {
  if (fault.after_output && sequence.num_output_tokens() < *fault.after_output) return false;
  return fault.match.holds(know(sequence).order, sequence.tokens, sequence.num_prompt_tokens);
}

Status ScriptedExecutor::happen(const ScriptFault& fault, SequenceResult* victim) {
  switch (fault.kind) {
    case ScriptFaultKind::kNan: victim->error = Error{ErrorCode::kInternal, "scripted: not a number"}; break;
    case ScriptFaultKind::kFail: return fail(ErrorCode::kInternal, "scripted: the device is gone");
    case ScriptFaultKind::kAbort: std::abort();
    case ScriptFaultKind::kExit: std::_Exit(fault.exit_code);
    case ScriptFaultKind::kHang: sleep_(std::chrono::milliseconds(fault.ms)); break;
  }
  return {};
}

Status ScriptedExecutor::apply_faults(const Plan& plan, const Scheduler& scheduler,
                                      std::vector<SequenceResult>& results) {
  uint64_t num_tokens = num_tokens_given_;
  for (const SequenceResult& result : results) num_tokens += result.tokens.size();
  for (size_t f = 0; f < script_.faults.size(); ++f) {
    const ScriptFault& fault = script_.faults[f];
    if (fault_is_over_[f] || plan.step < fault.at_step.value_or(0) || num_tokens < fault.at_token.value_or(0)) continue;
    const auto victim = std::ranges::find_if(plan.sequences, [&](const ScheduledSequence& scheduled) {
      return is_victim(fault, scheduler.sequence(scheduled.id));
    });
    if (fault.needs_sequence && victim == plan.sequences.end()) continue;
    fault_is_over_[f] = 1;
    if (has_left_marker(fault.marker)) continue;
    GALE_TRY(
        happen(fault, fault.needs_sequence ? &results[static_cast<size_t>(victim - plan.sequences.begin())] : nullptr));
  }
  return {};
}

void ScriptedExecutor::compute(const ScheduledSequence& scheduled, const Sequence& sequence, SequenceResult& result) {
  const SamplingParams& sampling = sequence.request.sampling;
  for (int target = scheduled.prompt_logprobs.first; target < scheduled.prompt_logprobs.end; ++target) {
    const TokenId token = sequence.tokens[static_cast<size_t>(target)];
    result.prompt_logprobs.push_back(made_up_logprobs(token, sampling.num_prompt_logprobs, info_.vocab_size));
  }
  if (scheduled.wants_pooled) result.pooled = made_up_vector(sequence.tokens, sequence.request.pooling);
  if (!scheduled.wants_token) return;
  const std::span<const TokenId> prompt =
      std::span(sequence.tokens).first(static_cast<size_t>(sequence.num_prompt_tokens));
  const StopCondition& stop = sequence.request.stop;
  const TokenId token =
      scripted_token(*know(sequence).reply, prompt, stop.stop_token_ids, stop.min_tokens, sequence.num_output_tokens());
  const std::optional<TokenId> drawn = nearest_allowed(sequence, token, result);
  if (!drawn) return;
  result.tokens = {*drawn};
  if (sampling.num_logprobs >= 0) result.logprobs = {made_up_logprobs(*drawn, sampling.num_logprobs, info_.vocab_size)};
}

// What a constraint makes of the script: the next id upwards that may come, around the end of the vocabulary.
std::optional<TokenId> ScriptedExecutor::nearest_allowed(const Sequence& sequence, TokenId token,
                                                         SequenceResult& result) const {
  if (!sequence.constraint) return token;
  const TokenMask& mask = sequence.constraint->mask();
  result.error = mask.error;
  if (mask.error) return std::nullopt;
  for (int i = 0; i < info_.vocab_size; ++i) {
    const TokenId candidate = (token + i) % info_.vocab_size;
    if (mask.allows(candidate)) return candidate;
  }
  result.error = Error{ErrorCode::kInternal, "scripted: no token may come"};
  return std::nullopt;
}

Duration ScriptedExecutor::time_of(const Plan& plan, const Scheduler& scheduler) {
  int num_drawn = 0, num_prompt = 0, delay_ms = 0;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const Sequence& sequence = scheduler.sequence(scheduled.id);
    num_prompt += std::max(
        0, std::min(scheduled.num_scheduled_tokens, sequence.num_prompt_tokens - scheduled.num_computed_tokens));
    if (!scheduled.wants_token) continue;
    ++num_drawn;
    delay_ms = std::max(delay_ms, know(sequence).reply->delay_ms);
  }
  double ms = delay_ms;
  if (script_.tokens_per_s > 0) ms += 1e3 * num_drawn / script_.tokens_per_s;
  if (script_.prefill_tokens_per_s > 0) ms += 1e3 * num_prompt / script_.prefill_tokens_per_s;
  return milliseconds_of(std::max(ms, script_.step_ms));
}

Result<std::vector<SequenceResult>> ScriptedExecutor::execute(const Plan& plan, const Scheduler& scheduler) {
  forget_the_gone(scheduler);
  std::vector<SequenceResult> results(plan.sequences.size());
  for (size_t i = 0; i < results.size(); ++i)
    compute(plan.sequences[i], scheduler.sequence(plan.sequences[i].id), results[i]);
  GALE_TRY(apply_faults(plan, scheduler, results));
  for (const SequenceResult& result : results) num_tokens_given_ += result.tokens.size();
  if (const Duration time = time_of(plan, scheduler); time > Duration::zero()) sleep_(time);
  return results;
}

// What other engines that live have of the card.
int64_t held_of(const ScriptCard& card) {
  int64_t sum = 0;
  std::error_code trouble;
  for (const auto& file : std::filesystem::directory_iterator(card.folder, trouble)) {
    int64_t held = 0;
    std::ifstream(file.path()) >> held;
    const bool is_alive = std::filesystem::exists("/proc" / file.path().filename(), trouble);
    if (is_alive && file.path().filename() != std::to_string(::getpid())) sum += held;
  }
  return sum;
}

Status check_card(const ScriptCard& card, const EngineConfig& config, int64_t freed_bytes) {
  const int64_t free_bytes = std::min(card.total_bytes - held_of(card) + freed_bytes, card.total_bytes);
  return check_weights_fit(
      {.total_bytes = card.total_bytes, .free_bytes = free_bytes, .weight_bytes = card.needed_bytes}, 0, config);
}

Status take_card(const ScriptCard& card, const EngineConfig& config) {
  GALE_TRY(check_card(card, config, 0));
  std::ofstream out(card.folder + "/" + std::to_string(::getpid()));
  if (out << card.needed_bytes << std::flush) return {};
  return fail(ErrorCode::kNotFound, "card: cannot write into {}", card.folder);
}

}  // namespace

Status check_scripted_memory(const EngineConfig& config, int64_t freed_bytes) {
  GALE_ASSIGN(const Script script, read_script(config.script_file));
  return script.card ? check_card(*script.card, config, freed_bytes) : Status();
}

Result<std::unique_ptr<Executor>> make_scripted_executor(Script script, const EngineConfig& config,
                                                         std::function<void(Duration)> sleep) {
  EngineConfig with_pool = config;
  SchedulerConfig& scheduler = with_pool.scheduler;
  if (scheduler.block_size == 0) scheduler.block_size = 16;
  if (scheduler.num_blocks == 0) scheduler.num_blocks = kDefaultTokensInPool / scheduler.block_size;
  const int64_t pool_tokens = scheduler.num_blocks * scheduler.block_size;
  MemoryDemand demand{.total_bytes = pool_tokens, .free_bytes = pool_tokens, .kv_bytes_per_token = 1};
  demand.attention_form = "scripted";
  demand.max_position_embeddings = script.max_model_len;
  GALE_ASSIGN(const MemoryPlan plan, plan_memory(demand, with_pool));
  if (script.card) GALE_TRY(take_card(*script.card, config));
  const Duration load_time = std::chrono::milliseconds(script.load_ms);
  if (load_time > Duration::zero()) sleep(load_time);
  Executor::Info info{.model_name = script.model_name,
                      .vocab_size = script.vocab_size,
                      .scheduler = plan.scheduler,
                      .load_seconds = seconds(load_time),
                      .hidden_size = kHiddenSize,
                      .memory_bytes = script.card ? script.card->needed_bytes : 0};
  return std::unique_ptr<Executor>(new ScriptedExecutor(std::move(script), std::move(info), std::move(sleep)));
}

Result<std::unique_ptr<Executor>> make_scripted_executor(const EngineConfig& config) {
  GALE_ASSIGN(Script script, read_script(config.script_file));
  return make_scripted_executor(std::move(script), config, [](Duration time) { std::this_thread::sleep_for(time); });
}

}  // namespace gale
