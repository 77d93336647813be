#pragma once

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv_cache/kv_cache.h"
#include "request/messages.h"
#include "scheduler/plan.h"
#include "scheduler/scheduler_config.h"
#include "scheduler/sequence.h"

namespace gale {

// Decides, step by step, which sequences compute which tokens, and keeps their blocks. Knows no device, model or clock.
//
//   add() --> waiting --schedule()--> running --commit()--> finished
//                ^---- preempted -------|        cancel() from anywhere
//
// Order: lower priority value first, then first come. Sequences that decode get their token before prompts share the
// rest of the budget in chunks. Beside answers a long prompt goes on a few layers a step instead (LayerSlice), in turns
// with the chunks of others: its attention takes long, and a chunk that is small enough to end in time would be
// inefficient. A prompt is admitted only when blocks for all its known tokens are free, so that it
// reaches its next token without waiting for memory. If a running sequence needs a block and none is left, the last in
// order is preempted: it gives all blocks back and is recomputed later. The oldest of all sequences is not preempted
// again before it has got a token since the last time, so it always finishes.
class Scheduler {
 public:
  // All fields of `config` are set (> 0).
  explicit Scheduler(const SchedulerConfig& config);

  // Takes a sequence in. If it is over before it starts (it can never fit, or its output is complete already), the
  // outcome is returned and nothing is kept. A live id is replaced: the newer Submit says more.
  [[nodiscard]] std::optional<SequenceOutput> add(Submit submit, std::unique_ptr<TokenConstraint> constraint = nullptr);

  // Ends a live sequence; its blocks are free on return. nullopt if there is none of this id.
  [[nodiscard]] std::optional<SequenceOutput> cancel(RequestId id);

  // What to compute next. Plans may be made before earlier ones are committed: a plan then counts on the one token that
  // each of the earlier gives a sequence. Empty only if there is no work, or all of it waits for plans that are not
  // committed.
  [[nodiscard]] Plan schedule();

  // A sequence could run whose draw depends on tokens that are not committed (penalties, bad words, a grammar): commit
  // first.
  [[nodiscard]] bool must_commit_first() const;

  // Applies a plan's results, one for each of plan.sequences, in the order of the plans (empty ones are not committed);
  // those cancelled meanwhile are skipped. Returns what to tell.
  [[nodiscard]] std::vector<SequenceOutput> commit(const Plan& plan, std::vector<SequenceResult> results);

  void reset_prefix_cache() { cache_.reset_prefixes(); }
  // Prompt tokens of the next plans beside answers, under the configuration's limit; nothing: that alone.
  void limit_mixed_prefill(std::optional<int> num_tokens) { max_mixed_prefill_now_ = num_tokens; }
  // Tokens times layers of a long prompt in the next plans beside answers; nothing: no limit is known, and it goes in
  // chunks.
  void limit_layered_prefill(std::optional<int64_t> num_token_layers) { max_token_layers_now_ = num_token_layers; }

  [[nodiscard]] bool has_work() const { return !sequences_.empty(); }
  [[nodiscard]] bool is_live(RequestId id) const { return sequences_.contains(id); }
  // A sequence of the current plan.
  [[nodiscard]] const Sequence& sequence(RequestId id) const;
  [[nodiscard]] const SchedulerConfig& config() const { return config_; }
  [[nodiscard]] const KvCache& cache() const { return cache_; }
  [[nodiscard]] Stats stats() const;

  // Blocks conserved, every sequence in exactly one place, slots unique.
  [[nodiscard]] KvCache::Audit check_integrity() const;

 private:
  struct Order { bool operator()(const Sequence* a, const Sequence* b) const; };
  using Queue = std::set<Sequence*, Order>;

  [[nodiscard]] std::optional<Error> reason_never_to_run(const Submit& submit) const;
  [[nodiscard]] std::optional<SequenceOutput> finish_if_complete(const Submit& submit) const;
  [[nodiscard]] bool is_ready(const Sequence& sequence) const;

  [[nodiscard]] bool is_anyone_answering() const;
  [[nodiscard]] bool goes_by_layers(const Sequence& sequence, bool beside_answers) const;
  [[nodiscard]] Sequence* next_by_layers(bool beside_answers) const;
  [[nodiscard]] int layered_piece_size(const Sequence& sequence, bool beside_answers) const;
  void schedule_layers(Plan& plan, Sequence& sequence, bool beside_answers);
  void schedule_running(Plan& plan, bool with_prompts, bool beside_answers);
  [[nodiscard]] int budget_beside_answers(int budget, int num_decoding) const;
  void schedule_waiting(Plan& plan, bool beside_answers);
  [[nodiscard]] bool admit(Sequence& sequence, int64_t num_reserved_blocks);
  [[nodiscard]] bool make_room(Plan& plan, Sequence& sequence, int num_tokens);
  [[nodiscard]] Sequence* pick_victim(const Sequence& claimant) const;
  void preempt(Plan& plan, Sequence& sequence);
  ScheduledSequence& put_into_plan(Plan& plan, Sequence& sequence, int num_tokens, size_t num_blocks_before);

  [[nodiscard]] std::optional<SequenceOutput> commit_one(const ScheduledSequence& scheduled, SequenceResult& result);
  void accept_tokens(Sequence& sequence, SequenceResult& result, SequenceOutput& output);
  void erase(Sequence& sequence);
  void leave_slot(Sequence& sequence);

  SchedulerConfig config_;
  KvCache cache_;
  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::set<uint64_t> arrivals_;        // of all live sequences: the first is the oldest
  Queue waiting_, running_;
  std::vector<SlotId> free_slots_;
  uint64_t next_arrival_ = 0, next_admission_ = 0;
  std::optional<int> max_mixed_prefill_now_;
  std::optional<int64_t> max_token_layers_now_;
  bool was_layered_turn_ = false;      // the plan before had a slice of layers
  uint64_t num_planned_steps_ = 0;     // stats_.step of them are committed
  Stats stats_;
};

}  // namespace gale
