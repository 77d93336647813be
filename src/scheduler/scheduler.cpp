#include "scheduler/scheduler.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace gale {
namespace {

constexpr int kMinLayeredTokens = 16;      // fewer go through all layers at once, however long the context
constexpr double kLayersNearlyFit = 0.05;  // of a layer: what a step takes is told by steps before, with some noise
constexpr double kMostOfAStep = 0.8;       // is enough: smaller pieces that fill it better are less efficient
constexpr double kPieceMargin = 0.97;      // of the budget of a step: the context grows from piece to piece

SequenceOutput finished(RequestId id, FinishReason reason) {
  SequenceOutput output;
  output.id = id;
  output.finish = reason;
  return output;
}

SequenceOutput failed(RequestId id, Error error) {
  SequenceOutput output = finished(id, FinishReason::kError);
  output.error = std::move(error);
  return output;
}

bool contains(const std::vector<TokenId>& tokens, TokenId token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

std::unique_ptr<Sequence> make_sequence(Submit submit) {
  auto sequence = std::make_unique<Sequence>();
  sequence->num_prompt_tokens = static_cast<int>(submit.prompt.size());
  sequence->tokens = std::move(submit.prompt);
  sequence->tokens.insert(sequence->tokens.end(), submit.output.begin(), submit.output.end());
  // Whoever has output already was told the prompt's logprobs before it.
  if (!submit.output.empty()) sequence->num_prompt_logprobs_told = sequence->num_prompt_tokens;
  submit.prompt.clear();
  submit.output.clear();
  sequence->request = std::move(submit);
  return sequence;
}

}  // namespace

bool Scheduler::Order::operator()(const Sequence* a, const Sequence* b) const {
  return std::pair(a->request.priority, a->arrival) < std::pair(b->request.priority, b->arrival);
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      cache_({.num_blocks = config.num_blocks,
              .block_size = config.block_size,
              .enable_prefix_caching = config.enable_prefix_caching}) {
  CHECK(config.max_num_seqs > 0 && config.max_num_batched_tokens > 0 && config.max_model_len > 0);
  const int room = std::max(0, config.max_num_batched_tokens - config.max_num_seqs);   // every answer has its own
  config_.max_layered_tokens = std::min(config_.max_layered_tokens, room);
  for (int slot = config.max_num_seqs; slot-- > 0;) free_slots_.push_back(SlotId{slot});
}

// ---- sequences come and go ----------------------------------------------------------------------------------------

std::optional<Error> Scheduler::reason_never_to_run(const Submit& submit) const {
  const auto num_prompt = static_cast<int64_t>(submit.prompt.size());
  if (num_prompt == 0) return Error{ErrorCode::kInvalidArgument, "the prompt is empty", "prompt"};
  if (submit.stop.max_tokens < 1)
    return Error{ErrorCode::kInvalidArgument, "max_tokens must be at least 1", "max_tokens"};
  const bool is_pooled = submit.pooling != Pooling::kNone;   // such a sequence has no output
  if (is_pooled && num_prompt > config_.max_model_len) {
    return Error{ErrorCode::kContextLength,
                 fmt::format("the prompt has {} tokens; only {} fit the context", num_prompt, config_.max_model_len),
                 "prompt"};
  }
  if (!is_pooled && num_prompt >= config_.max_model_len) {
    return Error{ErrorCode::kContextLength,
                 fmt::format("the prompt has {} tokens; with at least one of output only {} fit the context",
                             num_prompt, config_.max_model_len),
                 "prompt"};
  }
  // The last token is never fed back, so it needs no place.
  const int64_t longest =
      is_pooled ? num_prompt : std::min<int64_t>(num_prompt + submit.stop.max_tokens, config_.max_model_len) - 1;
  if (cache_.blocks_for(longest) <= cache_.num_blocks()) return std::nullopt;
  if (is_pooled) {
    return Error{ErrorCode::kContextLength,
                 fmt::format("{} prompt tokens need {} KV blocks of {} tokens; there are {}", num_prompt,
                             cache_.blocks_for(longest), config_.block_size, cache_.num_blocks()),
                 "prompt"};
  }
  return Error{
      ErrorCode::kContextLength,
      fmt::format("{} prompt tokens and max_tokens {} need {} KV blocks of {} tokens; there are {}: lower max_tokens",
                  num_prompt, submit.stop.max_tokens, cache_.blocks_for(longest), config_.block_size,
                  cache_.num_blocks()),
      "max_tokens"};
}

std::optional<SequenceOutput> Scheduler::finish_if_complete(const Submit& submit) const {
  if (submit.pooling != Pooling::kNone) return std::nullopt;
  const auto num_output = static_cast<int64_t>(submit.output.size());
  if (num_output > 0 && num_output > submit.stop.min_tokens &&
      contains(submit.stop.stop_token_ids, submit.output.back())) {
    SequenceOutput output = finished(submit.id, FinishReason::kStop);
    output.stop_token = submit.output.back();
    return output;
  }
  const bool is_full = num_output + static_cast<int64_t>(submit.prompt.size()) >= config_.max_model_len;
  if (num_output < submit.stop.max_tokens && !is_full) return std::nullopt;
  return finished(submit.id, FinishReason::kLength);
}

std::optional<SequenceOutput> Scheduler::add(Submit submit, std::unique_ptr<TokenConstraint> constraint) {
  (void)cancel(submit.id);
  if (std::optional<Error> reason = reason_never_to_run(submit)) return failed(submit.id, std::move(*reason));
  if (std::optional<SequenceOutput> outcome = finish_if_complete(submit)) return outcome;
  std::unique_ptr<Sequence> sequence = make_sequence(std::move(submit));
  sequence->arrival = next_arrival_++;
  sequence->constraint = std::move(constraint);
  sequence->table = cache_.make_table(sequence->request.cache_salt, sequence->request.extra_hash_keys);
  arrivals_.insert(sequence->arrival);
  waiting_.insert(sequence.get());
  const RequestId id = sequence->request.id;
  sequences_.emplace(id, std::move(sequence));
  return std::nullopt;
}

std::optional<SequenceOutput> Scheduler::cancel(RequestId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return std::nullopt;
  erase(*found->second);
  return finished(id, FinishReason::kCancelled);
}

void Scheduler::leave_slot(Sequence& sequence) {
  cache_.release(sequence.table);
  running_.erase(&sequence);
  free_slots_.push_back(*sequence.slot);
  sequence.slot.reset();
  sequence.num_computed = sequence.num_pending = 0;   // what plans under way draw for it
                                                      // is void: it will be drawn again
  sequence.awaits_drafts = sequence.was_planned = false;
  sequence.num_layered_tokens = sequence.num_layers_done = 0;
  sequence.drafts.clear();
}

void Scheduler::erase(Sequence& sequence) {
  if (sequence.slot) leave_slot(sequence);
  waiting_.erase(&sequence);
  arrivals_.erase(sequence.arrival);
  sequences_.erase(RequestId(sequence.request.id));
}

// ---- what to compute ----------------------------------------------------------------------------------------------

Plan Scheduler::schedule() {
  Plan plan;
  plan.step = num_planned_steps_;
  plan.token_budget = config_.max_num_batched_tokens;
  const bool beside_answers = is_anyone_answering();
  // A long prompt and the chunks of others take turns; it also takes the steps that these leave to answers alone.
  const bool is_layered_turn = !was_layered_turn_ && next_by_layers(beside_answers) != nullptr;
  schedule_running(plan, !is_layered_turn, beside_answers);
  // memory that was just short is not given to newcomers
  if (!is_layered_turn && plan.preempted.empty()) schedule_waiting(plan, beside_answers);
  const bool has_prompts = std::ranges::any_of(
      plan.sequences, [](const auto& s) { return s.num_known_tokens() > 1 || !s.wants_token; });
  Sequence* layered = has_prompts ? nullptr : next_by_layers(beside_answers);
  if (layered != nullptr) schedule_layers(plan, *layered, beside_answers);
  was_layered_turn_ = plan.layered() != nullptr;
  if (!plan.sequences.empty()) ++num_planned_steps_;
  CHECK(!has_work() || num_planned_steps_ > stats_.step, "{} waiting, {} running, and none can", waiting_.size(),
        running_.size());
  return plan;
}

// What plans under way give it may be its end for certain: then there is nothing left to plan.
bool Scheduler::is_ready(const Sequence& sequence) const {
  if (sequence.awaits_drafts || sequence.num_missing() <= 0) return false;
  if (sequence.num_pending == 0) return true;
  return sequence.num_expected() - sequence.num_prompt_tokens < sequence.request.stop.max_tokens &&
         sequence.num_expected() < config_.max_model_len;
}

bool Scheduler::must_commit_first() const {
  return std::ranges::any_of(running_, [this](const Sequence* sequence) {
    const SamplingParams& sampling = sequence->request.sampling;
    const bool looks_back = sequence->constraint != nullptr || sampling.repetition_penalty != 1.0F ||
                            sampling.frequency_penalty != 0.0F || sampling.presence_penalty != 0.0F ||
                            !sampling.bad_words.empty();
    return looks_back && sequence->num_pending > 0 && is_ready(*sequence);
  });
}

// ---- long prompts, a few layers a step ----------------------------------------------------------------------------

bool Scheduler::is_anyone_answering() const {
  return std::ranges::any_of(running_, [](const Sequence* sequence) { return sequence->num_missing() <= 1; });
}

// What begins so ends so: its hidden states wait at a layer.
bool Scheduler::goes_by_layers(const Sequence& sequence, bool beside_answers) const {
  if (sequence.num_layered_tokens > 0) return true;
  const bool is_known = config_.num_layers > 1 && config_.max_layered_tokens > 0 && max_token_layers_now_.has_value();
  return is_known && beside_answers && sequence.num_computed >= config_.layered_context &&
         sequence.num_missing() >= kMinLayeredTokens && !sequence.is_pooled() && !sequence.wants_prompt_logprobs();
}

// Whose piece is under way, else the first in order.
Sequence* Scheduler::next_by_layers(bool beside_answers) const {
  Sequence* next = nullptr;
  for (Sequence* sequence : running_) {
    if (sequence->num_layered_tokens > 0) return sequence;
    if (next == nullptr && goes_by_layers(*sequence, beside_answers)) next = sequence;
  }
  return next;
}

// As many tokens as may be, in whole grains, of which whole layers fill most of a step.
int Scheduler::layered_piece_size(const Sequence& sequence, bool beside_answers) const {
  const int most = std::min(config_.max_layered_tokens, sequence.num_missing());
  if (!beside_answers || !max_token_layers_now_) return most;
  const auto budget = static_cast<double>(std::max<int64_t>(1, *max_token_layers_now_));
  const double num_layers = std::floor(budget / most + kLayersNearlyFit);
  if (num_layers * most >= kMostOfAStep * budget || num_layers >= config_.num_layers) return most;
  const int grain = std::max(1, config_.mixed_step_grain);
  const auto fitting = static_cast<int>(kPieceMargin * budget / (num_layers + 1));
  return std::min(most, std::max(kMinLayeredTokens, std::max(1, fitting / grain) * grain));
}

void Scheduler::schedule_layers(Plan& plan, Sequence& sequence, bool beside_answers) {
  if (beside_answers && max_token_layers_now_ == 0) return;    // a step of answers alone is due
  int num_tokens = sequence.num_layered_tokens;
  if (num_tokens == 0) num_tokens = layered_piece_size(sequence, beside_answers);
  if (plan.num_tokens + num_tokens > config_.max_num_batched_tokens) return;
  const int first = sequence.num_layers_done;
  int num_layers = config_.num_layers - first;
  if (beside_answers && max_token_layers_now_) {
    const double fitting = static_cast<double>(*max_token_layers_now_) / num_tokens + kLayersNearlyFit;
    num_layers = static_cast<int>(std::clamp<double>(fitting, 1, num_layers));
  }
  const bool is_last = first + num_layers == config_.num_layers;
  sequence.num_layered_tokens = is_last ? 0 : num_tokens;
  sequence.num_layers_done = is_last ? 0 : first + num_layers;
  plan.token_budget = config_.max_num_batched_tokens;
  // It was admitted with blocks for all its known tokens.
  ScheduledSequence& scheduled = put_into_plan(plan, sequence, num_tokens, sequence.table.blocks.size());
  scheduled.layers = {.first = first, .end = first + num_layers, .is_last = is_last};
}

// ---- answers and chunks of prompts --------------------------------------------------------------------------------

// A grain that is begun costs as much as a whole one: prompts give up what would begin it. Those that then got less
// than a grain take what they may.
int Scheduler::budget_beside_answers(int budget, int num_decoding) const {
  if (num_decoding == 0) return budget;
  if (config_.max_num_mixed_prefill_tokens > 0)
    budget = std::min(budget, num_decoding + config_.max_num_mixed_prefill_tokens);
  if (max_mixed_prefill_now_) budget = std::min(budget, num_decoding + *max_mixed_prefill_now_);
  const int grain = std::max(1, config_.mixed_step_grain);
  const int in_grains = budget / grain * grain;
  return in_grains - num_decoding >= grain ? in_grains : budget;
}

void Scheduler::schedule_running(Plan& plan, bool with_prompts, bool beside_answers) {
  std::vector<Sequence*> in_order;
  std::ranges::copy_if(running_, std::back_inserter(in_order), [&](const Sequence* s) {
    const bool is_wanted = s->num_missing() == 1 || (with_prompts && !goes_by_layers(*s, beside_answers));
    return is_wanted && is_ready(*s);
  });
  auto num_decoding = static_cast<int>(std::ranges::count_if(in_order, [](auto* s) { return s->num_missing() == 1; }));
  // without prompts: room for a slice of layers
  plan.token_budget = with_prompts ? budget_beside_answers(plan.token_budget, num_decoding)
                                   : plan.token_budget - config_.max_layered_tokens;
  for (Sequence* sequence : in_order) {
    if (!sequence->slot) continue;                       // preempted a moment ago
    const bool is_decoding = sequence->num_missing() == 1;
    if (is_decoding) --num_decoding;
    const int budget = plan.token_budget - plan.num_tokens;
    const int spare = budget - num_decoding;             // every decoder behind gets its
                                                         // token before prompts and drafts
    int num_tokens = is_decoding ? std::min(1, budget) : std::min(sequence->num_missing(), spare);
    if (num_tokens <= 0) continue;
    const size_t num_blocks_before = sequence->table.blocks.size();
    const int end = sequence->num_computed + num_tokens;
    const int num_drafts = std::clamp(std::min(spare - num_tokens, config_.max_model_len - sequence->num_tokens()), 0,
                                      static_cast<int>(sequence->drafts.size()));
    sequence->drafts.resize(static_cast<size_t>(is_decoding ? num_drafts : 0));
    if (!cache_.grow(sequence->table, end + static_cast<int>(sequence->drafts.size()))) {
      sequence->drafts.clear();                          // guesses are not worth a preemption
      if (!make_room(plan, *sequence, end)) continue;
    }
    put_into_plan(plan, *sequence, num_tokens, num_blocks_before);
  }
}

bool Scheduler::make_room(Plan& plan, Sequence& sequence, int num_tokens) {
  while (!cache_.grow(sequence.table, num_tokens)) {
    Sequence* victim = pick_victim(sequence);
    // first the token that is under way: that is progress
    if (victim == &sequence && sequence.num_pending > 0) return false;
    preempt(plan, *victim);
    if (victim == &sequence) return false;
  }
  return true;
}

Sequence* Scheduler::pick_victim(const Sequence& claimant) const {
  for (auto it = running_.rbegin(); it != running_.rend() && *it != &claimant; ++it) {
    const bool is_oldest = (*it)->arrival == *arrivals_.begin();
    if (!is_oldest || !(*it)->was_preempted_without_progress) return *it;
  }
  return const_cast<Sequence*>(&claimant);
}

void Scheduler::preempt(Plan& plan, Sequence& sequence) {
  leave_slot(sequence);
  sequence.was_preempted_without_progress = true;
  waiting_.insert(&sequence);
  plan.preempted.push_back(sequence.request.id);
  ++stats_.num_preemptions;
}

void Scheduler::schedule_waiting(Plan& plan, bool beside_answers) {
  while (!waiting_.empty() && !free_slots_.empty()) {
    const int budget = plan.token_budget - plan.num_tokens;
    if (budget <= 0) return;
    Sequence& sequence = **waiting_.begin();
    // A block for each running sequence stays free: they will soon ask for it, and would preempt whom we let in.
    // Whoever was preempted comes back to twice as much: computing him again has to pay before the next time.
    const int64_t num_each = sequence.was_preempted_without_progress ? 2 : 1;
    if (!admit(sequence, num_each * static_cast<int64_t>(running_.size()))) return;
    if (goes_by_layers(sequence, beside_answers)) continue;   // it found a long prefix; its turn comes
    put_into_plan(plan, sequence, std::min(sequence.num_missing(), budget), 0);
  }
}

bool Scheduler::admit(Sequence& sequence, int64_t num_reserved_blocks) {
  const bool needs_all_rows = sequence.needs_all_rows();
  const int num_found = needs_all_rows ? 0 : cache_.match_prefix(sequence.table, sequence.tokens);
  if (!cache_.grow(sequence.table, sequence.num_tokens()) || cache_.num_available() < num_reserved_blocks) {
    cache_.release(sequence.table);
    return false;
  }
  if (!sequence.num_cached_tokens) {
    sequence.num_cached_tokens = std::min(num_found, sequence.num_prompt_tokens);
    stats_.prefix_queries += needs_all_rows ? 0 : sequence.tokens.size();
    stats_.prefix_hits += static_cast<uint64_t>(num_found);
  }
  waiting_.erase(&sequence);
  running_.insert(&sequence);
  sequence.slot = free_slots_.back();
  sequence.admission = next_admission_++;
  free_slots_.pop_back();
  sequence.num_computed = num_found;
  return true;
}

// The next tokens of the sequence; a piece that has layers left stays behind the computed ones.
ScheduledSequence& Scheduler::put_into_plan(Plan& plan, Sequence& sequence, int num_tokens, size_t num_blocks_before) {
  const bool is_new = !std::exchange(sequence.was_planned, true), has_layers_left = sequence.num_layered_tokens > 0;
  const int end = sequence.num_computed + num_tokens;
  ScheduledSequence scheduled;
  scheduled.slot = *sequence.slot;
  scheduled.id = sequence.request.id;
  scheduled.admission = sequence.admission;
  scheduled.is_new = is_new;
  scheduled.num_computed_tokens = sequence.num_computed;
  scheduled.num_scheduled_tokens = num_tokens + static_cast<int>(sequence.drafts.size());
  scheduled.draft_tokens = sequence.drafts;
  const bool reaches_end = !has_layers_left && end == sequence.num_expected();
  scheduled.wants_token = reaches_end && !sequence.is_pooled();
  scheduled.wants_pooled = reaches_end && sequence.is_pooled();
  if (sequence.wants_prompt_logprobs()) {   // the hidden state at p - 1 tells about token p
    scheduled.prompt_logprobs = {.first = std::max(sequence.num_computed + 1, sequence.num_prompt_logprobs_told),
                                 .end = std::min(end + 1, sequence.num_prompt_tokens)};
  }
  const auto& blocks = sequence.table.blocks;
  scheduled.new_blocks.assign(blocks.begin() + static_cast<std::ptrdiff_t>(is_new ? 0 : num_blocks_before),
                              blocks.end());
  if (!has_layers_left) sequence.num_computed = end;
  if (scheduled.wants_token) ++sequence.num_pending;
  sequence.awaits_drafts = !sequence.drafts.empty();
  plan.num_tokens += scheduled.num_scheduled_tokens;
  return plan.sequences.emplace_back(std::move(scheduled));
}

// ---- what came out ------------------------------------------------------------------------------------------------

std::vector<SequenceOutput> Scheduler::commit(const Plan& plan, std::vector<SequenceResult> results) {
  CHECK(results.size() == plan.sequences.size(), "{} results for {} sequences", results.size(), plan.sequences.size());
  CHECK(plan.step == stats_.step, "plan of step {} committed at step {}", plan.step, stats_.step);
  std::vector<SequenceOutput> outputs;
  for (size_t i = 0; i < results.size(); ++i) {
    if (std::optional<SequenceOutput> output = commit_one(plan.sequences[i], results[i]))
      outputs.push_back(std::move(*output));
  }
  if (plan.layered() != nullptr) ++stats_.num_layered_steps;
  ++stats_.step;
  return outputs;
}

std::optional<SequenceOutput> Scheduler::commit_one(const ScheduledSequence& scheduled, SequenceResult& result) {
  const auto found = sequences_.find(scheduled.id);
  if (found == sequences_.end() || !found->second->slot || found->second->admission != scheduled.admission) {
    return std::nullopt;   // cancelled or preempted meanwhile
  }
  Sequence& sequence = *found->second;
  if (result.error) {
    ++stats_.num_failures;
    cache_.forget(sequence.table);                       // nobody else shall build on what went wrong
    erase(sequence);
    return failed(scheduled.id, std::move(*result.error));
  }
  if (!scheduled.is_complete()) return std::nullopt;
  const auto num_drafts = static_cast<int>(scheduled.draft_tokens.size());
  CHECK(static_cast<int>(result.tokens.size()) <= (scheduled.wants_token ? 1 + num_drafts : 0), "{} tokens came out",
        result.tokens.size());
  const int end = scheduled.num_computed_tokens + scheduled.num_known_tokens();
  stats_.prompt_tokens +=
      static_cast<uint64_t>(std::max(0, std::min(end, sequence.num_prompt_tokens) - scheduled.num_computed_tokens));

  SequenceOutput output;
  output.id = scheduled.id;
  accept_tokens(sequence, result, output);
  if (scheduled.wants_token) --sequence.num_pending;
  if (num_drafts > 0) sequence.awaits_drafts = false;
  const int num_drafts_right = std::max(0, static_cast<int>(output.tokens.size()) - 1);
  int num_computed = end;
  if (scheduled.wants_token) num_computed = std::min(end + num_drafts_right, sequence.num_tokens() - 1);
  if (num_drafts > 0 || (scheduled.wants_token && output.tokens.empty())) {
    // Accepted drafts are in the cache; a wanted token that did not come is asked for again. No later plan counted on
    // them.
    CHECK(sequence.num_pending == 0, "sequence {} was planned on without knowing its tokens", scheduled.id.value);
    sequence.num_computed = num_computed;
  }
  cache_.publish(sequence.table, sequence.tokens, num_computed);
  output.prompt_logprobs = std::move(result.prompt_logprobs);
  sequence.num_prompt_logprobs_told = std::max(sequence.num_prompt_logprobs_told, scheduled.prompt_logprobs.end);
  if (scheduled.wants_pooled) {
    output.pooled = std::move(result.pooled);
    output.finish = FinishReason::kStop;
  }
  if (output.tokens.empty() && output.prompt_logprobs.empty() && !output.finish) return std::nullopt;
  if (!sequence.cached_tokens_told) output.num_cached_tokens = sequence.num_cached_tokens;
  sequence.cached_tokens_told = true;
  // else a plan is ahead of these guesses
  if (sequence.num_pending == 0) sequence.drafts = std::move(result.next_drafts);
  if (output.finish) erase(sequence);
  return output;
}

void Scheduler::accept_tokens(Sequence& sequence, SequenceResult& result, SequenceOutput& output) {
  const StopCondition& stop = sequence.request.stop;
  for (const TokenId token : result.tokens) {
    sequence.tokens.push_back(token);
    output.tokens.push_back(token);
    if (sequence.num_output_tokens() > stop.min_tokens && contains(stop.stop_token_ids, token)) {
      output.finish = FinishReason::kStop;
      output.stop_token = token;
    } else if (sequence.num_output_tokens() >= stop.max_tokens || sequence.num_tokens() >= config_.max_model_len) {
      output.finish = FinishReason::kLength;
    }
    if (output.finish) break;
  }
  if (!output.tokens.empty()) sequence.was_preempted_without_progress = false;
  stats_.generation_tokens += output.tokens.size();
  result.logprobs.resize(std::min(result.logprobs.size(), output.tokens.size()));
  output.logprobs = std::move(result.logprobs);
}

// ---- looking in ---------------------------------------------------------------------------------------------------

const Sequence& Scheduler::sequence(RequestId id) const {
  const auto found = sequences_.find(id);
  CHECK(found != sequences_.end(), "no sequence {}", id.value);
  return *found->second;
}

Stats Scheduler::stats() const {
  Stats stats = stats_;
  stats.num_running = static_cast<int>(running_.size());
  stats.num_waiting = static_cast<int>(waiting_.size());
  stats.num_blocks = cache_.num_blocks();
  stats.num_free_blocks = cache_.num_available();
  stats.num_cached_blocks = cache_.num_idle();
  return stats;
}

KvCache::Audit Scheduler::check_integrity() const {
  std::vector<const BlockTable*> tables;
  std::set<SlotId> slots(free_slots_.begin(), free_slots_.end());
  std::string problem;
  for (const auto& [id, sequence] : sequences_) {
    tables.push_back(&sequence->table);
    const bool is_running = running_.contains(sequence.get()), is_waiting = waiting_.contains(sequence.get());
    if (is_running == is_waiting || is_running != sequence->slot.has_value()) {
      problem = fmt::format("sequence {} is in no place, or in two", id.value);
    } else if (is_waiting && !sequence->table.is_empty()) {
      problem = fmt::format("waiting sequence {} holds blocks", id.value);
    } else if (is_running && !slots.insert(*sequence->slot).second) {
      problem = fmt::format("slot {} is taken twice", sequence->slot->value);
    }
  }
  if (slots.size() != static_cast<size_t>(config_.max_num_seqs))
    problem = fmt::format("{} slots are known", slots.size());
  if (running_.size() + waiting_.size() != sequences_.size() || arrivals_.size() != sequences_.size()) {
    problem = fmt::format("{} running + {} waiting, {} in all", running_.size(), waiting_.size(), sequences_.size());
  }
  KvCache::Audit audit = cache_.check_integrity(tables);
  if (audit.problem.empty()) audit.problem = problem;
  return audit;
}

}  // namespace gale
