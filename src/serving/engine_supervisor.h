#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "request/messages.h"
#include "serving/engine_process.h"
#include "serving/journal.h"
#include "serving/pipeline.h"
#include "serving/restart_policy.h"
#include "serving/worker_pool.h"

namespace gale {

// Who waits for a sequence. Called by the supervisor's threads, in order, never while its lock is held; must not block.
class OutputReceiver {
 public:
  virtual ~OutputReceiver() = default;
  // `burst`: for the work that this makes, beside that of the step's other sequences.
  virtual void on_output(SequenceOutput output, WorkerPool::Burst& burst) = 0;
  virtual void on_failure(RequestId id, Error error) = 0;   // nothing comes for it afterwards
};

struct SupervisorConfig {
  Duration beat_timeout = std::chrono::seconds(8);          // a loaded engine that is silent for so long hangs
  Duration load_timeout = std::chrono::minutes(30);         // from start to Ready
  Duration calm_life = std::chrono::seconds(60);            // an engine that lived so long forgives earlier deaths
  std::chrono::milliseconds poll{50};                       // how often silence and exit are looked for
  bool holds_while_loading = false;                         // sequences wait for the first engine, too, as for the next
  RestartPolicyConfig restart;
};

enum class EnginePhase : uint8_t {
  kLoading,      // the first engine has not been ready yet
  kReady,
  kRestarting,   // one died; its requests wait for the next
  kDead,         // gave up for now: see cause; starting goes on, slowly
  kStopped,
};

struct EngineStatus {
  EnginePhase phase = EnginePhase::kLoading;
  std::string cause;                    // of the last death, one line; empty after a later engine got ready
  std::optional<Error> fault;           // what the engine itself said about that death
  Duration beat_age{};                  // since the last message of a ready engine; else 0
  bool is_stalled = false;
  int num_restarts = 0;
  std::optional<Ready> ready;           // of the last engine that got ready
  Stats stats;
  CancelToFree cancel_to_free;
};

// Keeps an engine running and the live sequences with it: starts it, sees it die or hang (then kills it), starts the
// next and gives that every unfinished sequence as prompt and tokens so far. Each token is passed on once. A request
// that kills engines is found and fails alone (Journal::take_due). After too many deaths in a row that this does not
// explain it fails what is live, and goes on trying. Thread-safe.
class EngineSupervisor {
 public:
  // `workers`: of whoever submits. `preamble`: what each engine is told first.
  EngineSupervisor(SupervisorConfig config, const Clock& clock, EngineLauncher launcher, WorkerPool& workers,
                   std::vector<ToEngine> preamble = {});
  ~EngineSupervisor();
  EngineSupervisor(const EngineSupervisor&) = delete;
  EngineSupervisor& operator=(const EngineSupervisor&) = delete;

  // Whether submit() would take a sequence now: ready or restarting. Else kUnavailable with the reason.
  [[nodiscard]] Status availability() const;
  // From here on `receiver` is told until the sequence's finish, a failure, or cancel().
  [[nodiscard]] Status submit(Submit submit, std::shared_ptr<OutputReceiver> receiver);
  // Unknown ids are ignored. An output that is on its way may still arrive.
  void cancel(std::span<const RequestId> ids);
  [[nodiscard]] EngineStatus status() const;
  [[nodiscard]] std::optional<Ready> ready() const;

  // Fails what is live with kUnavailable and lets the engine leave. Later calls change nothing.
  void stop();

 private:
  struct Death {
    std::string cause;
    std::optional<Error> fault;
    bool is_refused_load = false;       // bad model or an engine of another build: the next will fail alike
  };
  struct Outgoing {
    RequestId id;
    bool is_cancel;
  };
  using Receivers = std::vector<std::pair<RequestId, std::shared_ptr<OutputReceiver>>>;

  void watch();
  [[nodiscard]] bool wait_to_start(Duration delay);
  void try_cancel(std::span<const RequestId> ids);
  using Deliveries = std::vector<std::pair<std::shared_ptr<OutputReceiver>, SequenceOutput>>;
  [[nodiscard]] std::optional<Death> live_once();
  [[nodiscard]] std::optional<Death> serve(const std::shared_ptr<EngineProcess>& engine);
  [[nodiscard]] std::optional<Death> listen(EngineProcess& engine);
  [[nodiscard]] std::optional<std::string> find_trouble(EngineProcess& engine);
  [[nodiscard]] std::string ending_of(EngineProcess& engine, std::string otherwise) const;
  [[nodiscard]] Duration bury(const Death& death);
  static void fail_live(const std::vector<JournalEntry>& entries, const Receivers& receivers);
  void handle(Ready ready);
  void handle(StepOutput step);
  void deliver(Deliveries& deliveries);
  void note_freed(const SequenceOutput& sequence);                 // with the lock
  void take_in(SequenceOutput sequence, Deliveries& deliveries);   // with the lock; std::bad_alloc: nothing has changed
  void handle(const Stats& stats);
  void handle(Fault fault);
  void hand_out_locked(const std::vector<RequestId>& due);
  void send_queued();
  [[nodiscard]] bool owes_preamble() const {
    return phase_ == EnginePhase::kReady && num_preamble_sent_ < preamble_.size();
  }
  [[nodiscard]] std::optional<ToEngine> compose(const Outgoing& outgoing);
  [[nodiscard]] Status send_one(const Outgoing& outgoing, std::unique_lock<std::mutex>& lock);
  void send_preamble(std::unique_lock<std::mutex>& lock);
  void send_failed(const Outgoing& outgoing, const Error& error, std::unique_lock<std::mutex>& lock);
  [[nodiscard]] Status availability_locked() const;
  [[nodiscard]] std::shared_ptr<OutputReceiver> take_receiver(RequestId id);

  const SupervisorConfig config_;
  const Clock& clock_;
  const EngineLauncher launcher_;
  WorkerPool& workers_;
  const std::vector<ToEngine> preamble_;

  mutable std::mutex mutex_;            // guards what follows
  std::condition_variable wake_;
  bool is_stopping_ = false;
  EnginePhase phase_ = EnginePhase::kLoading;
  std::string cause_;
  std::optional<Error> fault_;
  std::optional<Ready> ready_;
  Stats stats_;
  TimePoint last_beat_{};
  TimePoint ready_since_{};
  int num_restarts_ = 0;
  RestartPolicy policy_;
  Journal journal_;
  std::unordered_map<RequestId, std::shared_ptr<OutputReceiver>> receivers_;   // shared with the request's handle
  std::unordered_map<RequestId, TimePoint> cancelled_at_;   // with this engine, which has not said that they ended
  CancelToFree cancel_to_free_;
  size_t num_preamble_sent_ = 0;        // to the engine that is ready
  std::deque<Outgoing> outbox_;         // at most a submit and a cancel for each sequence; empty unless kReady
  std::shared_ptr<EngineProcess> engine_;   // shared with the sending thread, which may be inside its channel

  std::optional<Error> fault_of_this_engine_;   // of the watching thread

  std::thread watch_thread_;
  std::thread send_thread_;
};

}  // namespace gale
