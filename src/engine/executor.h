#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "scheduler/plan.h"
#include "scheduler/scheduler.h"

namespace gale {

// What computes a plan: a model on a device, or a script. Sits under the loop, on its thread.
class Executor {
 public:
  struct Info {
    std::string model_name;
    int vocab_size = 0;                // ids 0 … vocab_size - 1 may be submitted
    SchedulerConfig scheduler;         // every field resolved
    double load_seconds = 0;
    int hidden_size = 0;               // of a pooled vector
    int64_t memory_bytes = 0;          // of the device, as long as the process lives
  };
  virtual ~Executor() = default;
  [[nodiscard]] virtual const Info& info() const = 0;
  // One result for each of plan.sequences, whose tokens and blocks `scheduler` shows. An error means that the device is
  // gone: the engine cannot go on.
  [[nodiscard]] virtual Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler& scheduler) = 0;

  // The same in two halves, so that the host can prepare a step while the device computes the one before: submit()
  // reads plan and scheduler and returns, collect() waits for the oldest submitted plan. At most max_in_flight() plans
  // are between the two.
  [[nodiscard]] virtual int max_in_flight() const { return 1; }
  [[nodiscard]] virtual Status submit(const Plan& plan, const Scheduler& scheduler) {
    GALE_ASSIGN(results_, execute(plan, scheduler));
    return {};
  }
  [[nodiscard]] virtual Result<std::vector<SequenceResult>> collect() { return std::move(results_); }

  // `progress` is called now and then while the host computes a step, on the caller's thread: a long step is no hang.
  void on_progress(std::function<void()> progress) { progress_ = std::move(progress); }

 protected:
  void tell_progress() const {
    if (progress_) progress_();
  }

 private:
  std::function<void()> progress_;
  std::vector<SequenceResult> results_;
};

}  // namespace gale
