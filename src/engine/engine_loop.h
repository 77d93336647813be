#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "channel/channel.h"
#include "engine/constraints.h"
#include "engine/executor.h"
#include "engine/sequence_clock.h"
#include "scheduler/scheduler.h"
#include "scheduler/step_pace.h"

namespace gale {

// Why the engine cannot take a sequence, whatever the load; nullopt if it can.
[[nodiscard]] std::optional<Error> reason_to_refuse(const Submit& submit, int vocab_size);

// schedule, execute, commit: one step. An error means that the device is gone.
[[nodiscard]] Result<std::vector<SequenceOutput>> run_step(Scheduler& scheduler, Executor& executor);

// The engine's one thread: takes messages, runs steps, tells what came out. Holds nothing that Submit messages cannot
// rebuild.
class EngineLoop {
 public:
  EngineLoop(Executor& executor, const Clock& clock);

  // Until the channel closes. Exit code: 0; 70 after a Fault was sent.
  [[nodiscard]] int run(EngineChannel& channel);

 private:
  // Each adds to outcomes_ what the front must be told.
  void handle(Submit submit);
  void handle(const Cancel& cancel);
  void handle(const Control& control);
  void handle(const Vocabulary& vocabulary) { constraints_.set_vocabulary(vocabulary); }

  // kUnavailable: the channel is closed; else the device is gone
  [[nodiscard]] Status serve(EngineChannel& channel);
  [[nodiscard]] Status step(EngineChannel& channel);            // plans the next, commits the oldest that is under way
  [[nodiscard]] Status submit_next(EngineChannel& channel);
  void tell_places(EngineChannel& channel, const Plan& plan);
  [[nodiscard]] bool has_work() const { return scheduler_.has_work() || !in_flight_.empty(); }
  [[nodiscard]] Status send_outcomes(EngineChannel& channel);
  [[nodiscard]] Status send_stats_if_due(EngineChannel& channel);
  [[nodiscard]] Status send_stats(EngineChannel& channel);
  [[nodiscard]] std::chrono::milliseconds time_to_stats() const;
  void note_step(const Plan& plan, TimePoint submitted);
  void audit();
  void watch_cache();

  Executor& executor_;
  const Clock& clock_;
  Constraints constraints_;            // before the scheduler, whose sequences refer to it
  Scheduler scheduler_;
  struct InFlight {
    Plan plan;
    TimePoint submitted;
  };
  std::deque<InFlight> in_flight_;     // submitted to the executor, not committed
  StepPace pace_;
  TimePoint last_collected_{};
  std::vector<SequenceOutput> outcomes_;
  SequenceClock sequence_clock_{clock_};
  Distribution<kStepTokenBounds> step_tokens_;
  std::vector<RequestId> taken_in_;    // since the last plan
  TimePoint last_stats_{};
  bool stats_are_urgent_ = true;
  bool is_draining_ = false;
  bool needs_audit_ = false;           // there was work since the last
  uint64_t num_leaked_blocks_ = 0;
  bool is_cache_high_ = false;         // told, and not calm since
  uint64_t num_kv_warnings_ = 0;
};

}  // namespace gale
