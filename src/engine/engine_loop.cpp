#include "engine/engine_loop.h"

#include <algorithm>
#include <new>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/no_memory.h"
#include "engine/engine.h"
#include "sampling/sampler.h"

namespace gale {
namespace {

constexpr auto kStatsInterval = std::chrono::milliseconds(250);   // the front counts on two beats a second
constexpr int kExitFault = 70;
constexpr double kCacheIsHigh = 0.9, kCacheIsCalm = 0.8;          // shares of the KV blocks in use

Ready ready_message(const Executor::Info& info) {
  return {.model_name = info.model_name,
          .max_model_len = info.scheduler.max_model_len,
          .vocab_size = info.vocab_size,
          .block_size = info.scheduler.block_size,
          .num_blocks = info.scheduler.num_blocks,
          .max_num_seqs = info.scheduler.max_num_seqs,
          .load_seconds = info.load_seconds,
          .hidden_size = info.hidden_size,
          .memory_bytes = info.memory_bytes};
}

SequenceOutput refused(RequestId id, Error error) {
  SequenceOutput output;
  output.id = id;
  output.finish = FinishReason::kError;
  output.error = std::move(error);
  return output;
}

std::optional<Error> unknown_token(const std::vector<TokenId>& tokens, int vocab_size) {
  const auto bad =
      std::ranges::find_if(tokens, [vocab_size](TokenId token) { return token < 0 || token >= vocab_size; });
  if (bad == tokens.end()) return std::nullopt;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("token id {} is not one of the model's 0 to {}", *bad, vocab_size - 1), "prompt"};
}

// Masks are computed while the step runs.
void prepare_masks(const Plan& plan, const Scheduler& scheduler) {
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const Sequence& sequence = scheduler.sequence(scheduled.id);
    if (scheduled.wants_token && sequence.constraint) sequence.constraint->prepare(sequence.output());
  }
}

}  // namespace

std::optional<Error> reason_to_refuse(const Submit& submit, int vocab_size) {
  if (std::optional<Error> error = unknown_token(submit.prompt, vocab_size)) return error;
  if (std::optional<Error> error = unknown_token(submit.output, vocab_size)) return error;
  return Sampler::check(submit.sampling, vocab_size);
}

Result<std::vector<SequenceOutput>> run_step(Scheduler& scheduler, Executor& executor) {
  const Plan plan = scheduler.schedule();
  prepare_masks(plan, scheduler);
  GALE_ASSIGN(std::vector<SequenceResult> results, executor.execute(plan, scheduler));
  return scheduler.commit(plan, std::move(results));
}

EngineLoop::EngineLoop(Executor& executor, const Clock& clock)
    : executor_(executor),
      clock_(clock),
      constraints_(executor.info().vocab_size),
      scheduler_(executor.info().scheduler),
      pace_(std::chrono::milliseconds(executor.info().scheduler.max_mixed_step_ms),
            std::max(1, executor.info().scheduler.mixed_step_grain), executor.info().scheduler.num_layers) {}

int EngineLoop::run(EngineChannel& channel) {
  // A step may take longer than the front waits for a sign of life. A closed channel is noticed after the step.
  executor_.on_progress([this, &channel] {
    if (clock_.now() - last_stats_ >= kStatsInterval) (void)send_stats(channel);
  });
  Status status = channel.send(ready_message(executor_.info()));
  while (status) status = serve(channel);
  executor_.on_progress({});
  if (status.error().code == ErrorCode::kUnavailable) {
    log_info("the channel is closed: {}", status.error().message);
    return 0;
  }
  log_error("the engine cannot go on: {}", status.error().message);
  (void)channel.send(Fault{status.error()});   // nobody left to tell if this fails, too
  return kExitFault;
}

Status EngineLoop::serve(EngineChannel& channel) {
  const auto patience = has_work() ? std::chrono::milliseconds(0) : time_to_stats();
  GALE_ASSIGN(std::vector<ToEngine> messages, channel.receive(patience));
  for (ToEngine& message : messages) std::visit([this](auto& m) { handle(std::move(m)); }, message);
  if (has_work()) {
    // Whatever an executor calls its trouble, it must not pass for a closed channel.
    if (const Status done = step(channel); !done) return fail(ErrorCode::kInternal, "{}", done.error().message);
    needs_audit_ = true;
    watch_cache();
  }
  GALE_TRY(send_outcomes(channel));
  return send_stats_if_due(channel);
}

Status EngineLoop::submit_next(EngineChannel& channel) {
  if (!scheduler_.has_work() || static_cast<int>(in_flight_.size()) >= executor_.max_in_flight()) return {};
  if (!in_flight_.empty() && scheduler_.must_commit_first()) return {};
  Plan plan = scheduler_.schedule();
  tell_places(channel, plan);
  if (plan.sequences.empty()) return {};                 // all that is left waits for plans under way
  prepare_masks(plan, scheduler_);
  const TimePoint begin = clock_.now();   // a processor has computed the step when it is submitted
  GALE_TRY(executor_.submit(plan, scheduler_));
  in_flight_.push_back({std::move(plan), begin});
  return {};
}

// Before a step is computed the front hears whose it is, so that it knows whom to suspect if there is no engine left
// afterwards: an output without tokens says that a sequence waits here or, with a count of cached tokens, that it runs.
void EngineLoop::tell_places(EngineChannel& channel, const Plan& plan) {
  StepOutput places{.step = scheduler_.stats().step};
  for (const ScheduledSequence& scheduled : plan.sequences) {
    if (!scheduled.is_new) continue;
    std::erase(taken_in_, scheduled.id);
    sequence_clock_.note_admission(scheduled.id);
    places.sequences.push_back({.id = scheduled.id, .num_cached_tokens = scheduled.num_computed_tokens});
  }
  taken_in_.insert(taken_in_.end(), plan.preempted.begin(), plan.preempted.end());
  for (const RequestId id : std::exchange(taken_in_, {})) places.sequences.push_back({.id = id});
  if (!places.sequences.empty()) (void)channel.send(places);   // a channel that is closed shows at the next receive
}

Status EngineLoop::step(EngineChannel& channel) {
  may_run_out_of_memory("engine.step");   // ends the engine, and the front starts the next
  const size_t num_before = in_flight_.size();
  GALE_TRY(submit_next(channel));
  const bool has_room = static_cast<int>(in_flight_.size()) < executor_.max_in_flight();
  // one more may be planned before the oldest is waited for
  if (has_room && in_flight_.size() > num_before) return {};
  if (in_flight_.empty()) return {};
  GALE_ASSIGN(std::vector<SequenceResult> results, executor_.collect());
  note_step(in_flight_.front().plan, in_flight_.front().submitted);
  std::vector<SequenceOutput> outputs = scheduler_.commit(in_flight_.front().plan, std::move(results));
  for (const SequenceOutput& output : outputs) {
    if (output.error) log_warning("sequence {} failed, the others go on: {}", output.id.value, output.error->message);
  }
  sequence_clock_.stamp(outputs);
  step_tokens_.add(in_flight_.front().plan.num_completed_tokens());
  std::ranges::move(outputs, std::back_inserter(outcomes_));
  in_flight_.pop_front();
  return {};
}

// A step begins when it is handed over or, if that is later, when the one before it ends.
void EngineLoop::note_step(const Plan& plan, TimePoint submitted) {
  const TimePoint now = clock_.now();
  pace_.note(plan, now - std::max(submitted, last_collected_));
  last_collected_ = now;
  scheduler_.limit_mixed_prefill(pace_.max_prompt_tokens());
  scheduler_.limit_layered_prefill(pace_.max_token_layers());
}

// Says once that room is short, and again only after a calmer time.
void EngineLoop::watch_cache() {
  const Stats stats = scheduler_.stats();
  const int64_t used = stats.num_blocks - stats.num_free_blocks;
  const double share = static_cast<double>(used) / static_cast<double>(stats.num_blocks);
  if (share < kCacheIsCalm) is_cache_high_ = false;
  if (share <= kCacheIsHigh || is_cache_high_) return;
  is_cache_high_ = true;
  ++num_kv_warnings_;
  log_warning(
      "KV cache: {:.0f} % in use ({} of {} blocks; {} running, {} waiting): cached prefixes are given up first, then "
      "sequences "
      "wait or are computed again; lower --max-num-seqs or --max-model-len, or give it more memory",
      1e2 * share, used, stats.num_blocks, stats.num_running, stats.num_waiting);
}

void EngineLoop::handle(Submit submit) {
  const RequestId id = submit.id;
  std::optional<Error> reason;
  if (is_draining_) reason = Error{ErrorCode::kUnavailable, "the engine is draining"};
  if (!reason) reason = reason_to_refuse(submit, executor_.info().vocab_size);
  Result<std::unique_ptr<TokenConstraint>> constraint;
  std::optional<SequenceOutput> outcome;
  try {   // one sequence that does not fit into memory is no reason to lose all
    may_run_out_of_memory("engine.sequence");
    if (!reason) constraint = constraints_.make(submit);
    if (!constraint) reason = constraint.error();
    sequence_clock_.note_arrival(id);
    if (!reason) outcome = scheduler_.add(std::move(submit), *std::move(constraint));
  } catch (const std::bad_alloc&) {
    (void)scheduler_.cancel(id);
    reason = no_memory();
  }
  if (reason) outcome = refused(id, std::move(*reason));
  if (!outcome) return taken_in_.push_back(id);
  sequence_clock_.forget(id);
  outcomes_.push_back(std::move(*outcome));
}

void EngineLoop::handle(const Cancel& cancel) {
  sequence_clock_.forget(cancel.id);
  if (std::optional<SequenceOutput> outcome = scheduler_.cancel(cancel.id)) outcomes_.push_back(std::move(*outcome));
  needs_audit_ = true;
}

void EngineLoop::handle(const Control& control) {
  switch (control.command) {
    case ControlCommand::kDrain: is_draining_ = true; break;
    case ControlCommand::kResetPrefixCache: scheduler_.reset_prefix_cache(); break;
    case ControlCommand::kCheckIntegrity: audit(); break;
  }
  stats_are_urgent_ = true;
}

Status EngineLoop::send_outcomes(EngineChannel& channel) {
  if (outcomes_.empty()) return {};
  return channel.send(StepOutput{.step = scheduler_.stats().step, .sequences = std::exchange(outcomes_, {})});
}

std::chrono::milliseconds EngineLoop::time_to_stats() const {
  const Duration left = kStatsInterval - (clock_.now() - last_stats_);
  return std::chrono::ceil<std::chrono::milliseconds>(std::max(left, Duration::zero()));
}

Status EngineLoop::send_stats_if_due(EngineChannel& channel) {
  if (!stats_are_urgent_ && clock_.now() - last_stats_ < kStatsInterval) return {};
  if (needs_audit_ && !scheduler_.has_work()) audit();
  stats_are_urgent_ = false;
  return send_stats(channel);
}

Status EngineLoop::send_stats(EngineChannel& channel) {
  last_stats_ = clock_.now();
  Stats stats = scheduler_.stats();
  stats.num_leaked_blocks = num_leaked_blocks_;
  stats.num_kv_warnings = num_kv_warnings_;
  stats.step_tokens = step_tokens_;
  return channel.send(stats);
}

void EngineLoop::audit() {
  const KvCache::Audit audit = scheduler_.check_integrity();
  num_leaked_blocks_ = static_cast<uint64_t>(audit.num_leaked_blocks);
  if (!audit.problem.empty()) log_error("block audit: {} ({} blocks leaked)", audit.problem, audit.num_leaked_blocks);
  needs_audit_ = false;
}

int run_engine(EngineChannel& channel, Executor& executor, const EngineConfig&) {
  const SteadyClock clock;
  EngineLoop loop(executor, clock);
  return loop.run(channel);
}

}  // namespace gale
