#include "serving/engine_supervisor.h"

#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/no_memory.h"

namespace gale {
namespace {

// How long a closed channel may precede the exit of its process before we stop asking how it ended.
constexpr std::chrono::milliseconds kEndingPatience{1000};
constexpr size_t kTakenInAtOnce = 128;   // sequences of a step; by 32 the workers wake too often (perf/front.md)

}  // namespace

EngineSupervisor::EngineSupervisor(SupervisorConfig config, const Clock& clock, EngineLauncher launcher,
                                   WorkerPool& workers, std::vector<ToEngine> preamble)
    : config_(config),
      clock_(clock),
      launcher_(std::move(launcher)),
      workers_(workers),
      preamble_(std::move(preamble)),
      policy_(config.restart) {
  send_thread_ = std::thread([this] { send_queued(); });
  try {
    watch_thread_ = std::thread([this] { watch(); });
  } catch (...) {   // the other one uses this object
    stop();
    throw;
  }
}

EngineSupervisor::~EngineSupervisor() { stop(); }

// ---- what others ask ------------------------------------------------------------------------------------------------

Status EngineSupervisor::availability() const {
  std::lock_guard lock(mutex_);
  return availability_locked();
}

Status EngineSupervisor::availability_locked() const {
  switch (phase_) {
    case EnginePhase::kReady:
    case EnginePhase::kRestarting: return {};
    case EnginePhase::kLoading:
      if (config_.holds_while_loading) return {};
      return fail(ErrorCode::kUnavailable, "the model is loading");
    case EnginePhase::kDead:
      return fail(ErrorCode::kUnavailable, "the engine does not stay up; starting it is tried again");
    case EnginePhase::kStopped: return fail(ErrorCode::kUnavailable, "the server is shutting down");
  }
  return {};
}

Status EngineSupervisor::submit(Submit submit, std::shared_ptr<OutputReceiver> receiver) {
  {
    std::lock_guard lock(mutex_);
    GALE_TRY(availability_locked());
    const RequestId id = submit.id;
    may_run_out_of_memory("serving.journal");
    // What is in the journal has one, and can be cancelled, whatever happens here.
    receivers_[id] = std::move(receiver);
    try {
      journal_.add(std::move(submit));
    } catch (const std::bad_alloc&) {
      receivers_.erase(id);
      throw;
    }
    if (phase_ == EnginePhase::kReady) hand_out_locked(journal_.take_due(id));
  }
  wake_.notify_all();
  return {};
}

// Destructors call this: it waits for memory rather than fail.
void EngineSupervisor::cancel(std::span<const RequestId> ids) {
  when_there_is_memory([&] { try_cancel(ids); });
}

// May be tried again: what is cancelled is not in the journal any more.
void EngineSupervisor::try_cancel(std::span<const RequestId> ids) {
  std::vector<std::shared_ptr<OutputReceiver>> released;   // destroyed without the lock
  released.reserve(ids.size());
  {
    std::lock_guard lock(mutex_);
    const bool is_searching = journal_.num_suspects() > 0;
    for (const RequestId id : ids) {
      const JournalEntry* entry = journal_.find(id);
      if (entry == nullptr) continue;
      if (entry->is_with_engine) {
        cancelled_at_.emplace(id, clock_.now());
        outbox_.push_back({id, true});
      }
      journal_.remove(id);
      released.push_back(take_receiver(id));
    }
    if (is_searching && phase_ == EnginePhase::kReady) hand_out_locked(journal_.take_due());
  }
  wake_.notify_all();
}

void EngineSupervisor::hand_out_locked(const std::vector<RequestId>& due) {
  for (size_t i = 0; i < due.size(); ++i) {
    try {
      outbox_.push_back({due[i], false});
    } catch (const std::bad_alloc&) {   // the rest is due again with whatever asks next
      for (; i < due.size(); ++i) journal_.put_back(due[i]);
      throw;
    }
  }
}

EngineStatus EngineSupervisor::status() const {
  std::lock_guard lock(mutex_);
  EngineStatus status{.phase = phase_, .cause = cause_, .fault = fault_, .num_restarts = num_restarts_, .ready = ready_,
                      .stats = stats_, .cancel_to_free = cancel_to_free_};
  if (phase_ == EnginePhase::kReady) {
    status.beat_age = clock_.now() - last_beat_;
    status.is_stalled = status.beat_age > config_.beat_timeout;
  }
  return status;
}

std::optional<Ready> EngineSupervisor::ready() const {
  std::lock_guard lock(mutex_);
  return ready_;
}

void EngineSupervisor::stop() {
  std::vector<JournalEntry> entries;
  Receivers receivers;
  {
    std::lock_guard lock(mutex_);
    if (is_stopping_) return;
    is_stopping_ = true;
    phase_ = EnginePhase::kStopped;
    entries = journal_.clear();
    receivers.assign(receivers_.begin(), receivers_.end());
    receivers_.clear();
    outbox_.clear();
  }
  wake_.notify_all();
  for (const auto& [id, receiver] : receivers) {
    receiver->on_failure(id, Error{ErrorCode::kUnavailable, "the server is shutting down"});
  }
  send_thread_.join();
  if (watch_thread_.joinable()) watch_thread_.join();   // last: it started the engine and lets it leave
}

std::shared_ptr<OutputReceiver> EngineSupervisor::take_receiver(RequestId id) {
  auto node = receivers_.extract(id);
  return node ? std::move(node.mapped()) : nullptr;
}

// ---- the life of engines: the watching thread ----------------------------------------------------------------------

void EngineSupervisor::watch() {
  Duration delay{};
  while (wait_to_start(delay)) {
    try {
      std::optional<Death> death = live_once();
      if (!death) return;
      delay = bury(*death);
    } catch (const std::bad_alloc&) {   // for starting or burying an engine: the next try has more, or waits as long
      delay = config_.restart.first_backoff;
    }
  }
}

std::optional<EngineSupervisor::Death> EngineSupervisor::live_once() {
  auto engine = launcher_();
  if (!engine) return Death{.cause = engine.error().message, .fault = engine.error()};
  return serve(std::shared_ptr<EngineProcess>(std::move(*engine)));
}

bool EngineSupervisor::wait_to_start(Duration delay) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, delay, [this] { return is_stopping_; });
}

std::optional<EngineSupervisor::Death> EngineSupervisor::serve(const std::shared_ptr<EngineProcess>& engine) {
  {
    std::lock_guard lock(mutex_);
    engine_ = engine;
    last_beat_ = clock_.now();
  }
  fault_of_this_engine_.reset();
  std::optional<Death> death;
  try {
    death = listen(*engine);
  } catch (const std::bad_alloc&) {   // what it said is lost, but not from the journal: the next engine says it again
    death = Death{.cause = "no memory for what the engine said", .fault = std::nullopt};
  }
  std::shared_ptr<EngineProcess> released;
  {
    std::lock_guard lock(mutex_);
    released = std::move(engine_);
    outbox_.clear();
    cancelled_at_.clear();
    if (death && !is_stopping_) {
      if (fault_of_this_engine_) {
        death->fault = fault_of_this_engine_;
        death->cause = death->fault->message;
        death->is_refused_load = !ready_;
      }
      if (phase_ == EnginePhase::kReady) phase_ = EnginePhase::kRestarting;
      journal_.note_engine_death();
    }
    if (is_stopping_) death.reset();
  }
  if (death) engine->kill();
  return death;
}

// Until the engine is of no further use (how it died), or we are to stop (nothing).
std::optional<EngineSupervisor::Death> EngineSupervisor::listen(EngineProcess& engine) {
  while (true) {
    auto messages = engine.channel().receive(config_.poll);
    if (!messages) {
      const Error& error = messages.error();
      const bool is_gone = error.code == ErrorCode::kUnavailable;
      return Death{.cause = is_gone ? ending_of(engine, error.message) : error.message,
                   .fault = std::nullopt,
                   .is_refused_load = error.code == ErrorCode::kUnimplemented};
    }
    for (ToFront& message : *messages) {
      std::visit([this](auto&& kind) { handle(std::forward<decltype(kind)>(kind)); }, std::move(message));
    }
    {
      std::lock_guard lock(mutex_);
      if (is_stopping_) return std::nullopt;
      if (!messages->empty()) last_beat_ = clock_.now();
    }
    if (!messages->empty()) continue;
    if (auto trouble = find_trouble(engine)) return Death{.cause = std::move(*trouble), .fault = std::nullopt};
  }
}

// Asked only when everything the engine sent has been taken.
std::optional<std::string> EngineSupervisor::find_trouble(EngineProcess& engine) {
  if (auto ending = engine.ending()) return ending;
  std::lock_guard lock(mutex_);
  const Duration silence = clock_.now() - last_beat_;
  const bool is_ready = phase_ == EnginePhase::kReady;
  if (is_ready && clock_.now() - ready_since_ > config_.calm_life) policy_.note_progress();
  if (silence <= (is_ready ? config_.beat_timeout : config_.load_timeout)) return std::nullopt;
  return is_ready ? fmt::format("no sign of life for {:.1f} s: it hangs and is killed", seconds(silence))
                  : fmt::format("not ready after {:.0f} s: it is killed", seconds(silence));
}

std::string EngineSupervisor::ending_of(EngineProcess& engine, std::string otherwise) const {
  const auto give_up = std::chrono::steady_clock::now() + kEndingPatience;
  while (std::chrono::steady_clock::now() < give_up) {
    if (auto ending = engine.ending()) return *ending;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return otherwise;
}

Duration EngineSupervisor::bury(const Death& death) {
  std::vector<JournalEntry> failed;
  Receivers receivers;
  RestartPolicy::Decision decision;
  int num_suspects = 0;
  {
    std::lock_guard lock(mutex_);
    num_suspects = journal_.num_suspects();
    decision = death.is_refused_load ? policy_.on_refused_load() : policy_.on_death(num_suspects);
    ++num_restarts_;
    cause_ = death.cause;
    fault_ = death.fault;
    receivers.reserve(receivers_.size());   // whoever leaves the journal is told
    if (decision.gives_up && !is_stopping_) {
      phase_ = EnginePhase::kDead;
      failed = journal_.clear();
      receivers.assign(receivers_.begin(), receivers_.end());
      receivers_.clear();
    } else {
      failed = journal_.convict();
      for (const JournalEntry& entry : failed) receivers.emplace_back(entry.submit.id, take_receiver(entry.submit.id));
    }
  }
  fail_live(failed, receivers);
  log_error("engine died: {}; the next one starts in {:.1f} s{}", death.cause, seconds(decision.delay),
            decision.gives_up || !failed.empty() ? fmt::format("; {} live sequences failed", failed.size()) : "");
  if (num_suspects > 1) log_warning("engines die over the same {} sequences: they are tried in halves", num_suspects);
  return decision.delay;
}

// Those that ran when engines died get 500: they may be the reason. Those that only waited may try again.
void EngineSupervisor::fail_live(const std::vector<JournalEntry>& entries, const Receivers& receivers) {
  for (const auto& [id, receiver] : receivers) {
    const auto entry = std::ranges::find(entries, id, [](const JournalEntry& one) { return one.submit.id; });
    const int num_deaths = entry == entries.end() ? 0 : entry->num_deaths;
    when_there_is_memory([&] {
      Error error{ErrorCode::kUnavailable, "the engine does not stay up; try again later"};
      if (num_deaths > 0) {
        error = {ErrorCode::kInternal, fmt::format("the engine died {} times in a row with this request", num_deaths)};
      }
      receiver->on_failure(id, std::move(error));
    });
  }
}

// ---- what the engine says: the watching thread ---------------------------------------------------------------------

void EngineSupervisor::handle(Ready ready) {
  size_t num_resumed = 0;
  {
    std::lock_guard lock(mutex_);
    if (is_stopping_ || phase_ == EnginePhase::kReady) return;
    phase_ = EnginePhase::kReady;
    num_preamble_sent_ = 0;
    cause_.clear();
    fault_.reset();
    ready_since_ = clock_.now();
    last_beat_ = ready_since_;
    hand_out_locked(journal_.take_due());
    num_resumed = outbox_.size();
    ready_ = std::move(ready);
  }
  wake_.notify_all();
  log_info("engine ready, {} sequences handed over", num_resumed);
}

// Some sequences at a time, so that the workers begin while this thread takes in the others.
void EngineSupervisor::handle(StepOutput step) {
  std::span<SequenceOutput> left = step.sequences;
  Deliveries deliveries;
  deliveries.reserve(std::min(kTakenInAtOnce, left.size()));   // what is in the journal is delivered, too
  bool has_memory = true;
  std::unique_lock lock(mutex_);
  const bool was_searching = journal_.num_suspects() > 0;
  while (has_memory && !left.empty()) {
    const size_t num_taken = std::min(kTakenInAtOnce, left.size());
    try {
      for (SequenceOutput& sequence : left.first(num_taken)) take_in(std::move(sequence), deliveries);
    } catch (const std::bad_alloc&) {            // that sequence and those behind it are computed again
      has_memory = false;
    }
    left = left.subspan(num_taken);
    lock.unlock();
    deliver(deliveries);
    deliveries.clear();
    lock.lock();
  }
  if (was_searching) {
    try {
      if (phase_ == EnginePhase::kReady) hand_out_locked(journal_.take_due());
    } catch (const std::bad_alloc&) {
      has_memory = false;
    }
    wake_.notify_all();
  }
  if (!has_memory) throw std::bad_alloc();     // serve() ends this engine
}

void EngineSupervisor::deliver(Deliveries& deliveries) {
  WorkerPool::Burst burst(workers_);
  for (auto& [receiver, output] : deliveries) {
    const RequestId id = output.id;
    try {
      receiver->on_output(std::move(output), burst);
    } catch (const std::bad_alloc&) {          // its tokens would be missing in the middle
      burst.flush();                           // the others' work gives memory back
      when_there_is_memory([&] {
        receiver->on_failure(id, no_memory());
      });
    }
  }
}

void EngineSupervisor::note_freed(const SequenceOutput& sequence) {
  if (!sequence.finish) return;
  if (const auto cancelled = cancelled_at_.extract(sequence.id)) {
    cancel_to_free_.add(seconds(clock_.now() - cancelled.mapped()));
  }
}

void EngineSupervisor::take_in(SequenceOutput sequence, Deliveries& deliveries) {
  note_freed(sequence);
  std::optional<SequenceOutput> news = journal_.record(std::move(sequence));
  if (!news) return;
  if (!news->tokens.empty()) policy_.note_progress();
  const auto it = receivers_.find(news->id);
  auto receiver = news->finish ? take_receiver(news->id) : it->second;
  deliveries.emplace_back(std::move(receiver), std::move(*news));
}

void EngineSupervisor::handle(const Stats& stats) {
  std::lock_guard lock(mutex_);
  stats_ = stats;
}

void EngineSupervisor::handle(Fault fault) {
  log_error("engine fault: {}", fault.error.message);
  fault_of_this_engine_ = std::move(fault.error);
}

// ---- what the engine is told: the sending thread -------------------------------------------------------------------

void EngineSupervisor::send_queued() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return is_stopping_ || owes_preamble() || !outbox_.empty(); });
    if (is_stopping_) return;
    if (owes_preamble()) {
      send_preamble(lock);
      continue;
    }
    const Outgoing outgoing = outbox_.front();
    outbox_.pop_front();
    Status sent;
    try {
      sent = send_one(outgoing, lock);
    } catch (const std::bad_alloc&) {
      sent = fail(ErrorCode::kOutOfMemory, "there is no memory for this request now");
    }
    if (!lock.owns_lock()) lock.lock();
    if (!sent) send_failed(outgoing, sent.error(), lock);
  }
}

Status EngineSupervisor::send_one(const Outgoing& outgoing, std::unique_lock<std::mutex>& lock) {
  may_run_out_of_memory("serving.hand_over");
  const std::optional<ToEngine> message = compose(outgoing);
  const std::shared_ptr<EngineProcess> engine = engine_;
  if (!message || !engine) return {};
  lock.unlock();
  return engine->channel().send(*message);
}

void EngineSupervisor::send_preamble(std::unique_lock<std::mutex>& lock) {
  const ToEngine& message = preamble_[num_preamble_sent_++];
  std::shared_ptr<EngineProcess> engine = engine_;
  if (!engine) return;
  lock.unlock();
  Status sent;   // a channel that broke is the watching thread's to notice
  try {
    sent = engine->channel().send(message);
  } catch (const std::bad_alloc&) {
    sent = fail(ErrorCode::kOutOfMemory, "there is no memory for it");
  }
  if (!sent) log_warning("the engine was not told everything: {}", sent.error().message);
  engine.reset();
  lock.lock();
}

std::optional<ToEngine> EngineSupervisor::compose(const Outgoing& outgoing) {
  if (outgoing.is_cancel) return Cancel{outgoing.id};
  std::optional<Submit> submit = journal_.hand_over(outgoing.id);
  if (!submit) return std::nullopt;
  return std::move(*submit);
}

// A message that is too large, or for which there is no memory, fails its request; a channel that broke is the watching
// thread's to notice.
void EngineSupervisor::send_failed(const Outgoing& outgoing, const Error& error, std::unique_lock<std::mutex>& lock) {
  const bool has_no_memory = error.code == ErrorCode::kOutOfMemory;
  if (!outgoing.is_cancel) cancelled_at_.erase(outgoing.id);   // the engine does not know it, and will not say a word
  const bool is_of_the_request = error.code == ErrorCode::kTooLarge || has_no_memory;
  if (!is_of_the_request || outgoing.is_cancel || !journal_.remove(outgoing.id)) return;
  const std::shared_ptr<OutputReceiver> receiver = take_receiver(outgoing.id);
  if (phase_ == EnginePhase::kReady && journal_.num_suspects() > 0) hand_out_locked(journal_.take_due());
  lock.unlock();
  receiver->on_failure(outgoing.id, has_no_memory ? Error{ErrorCode::kUnavailable, error.message} : error);
  lock.lock();
}

}  // namespace gale
