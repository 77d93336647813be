#include "server/generate_session.h"

#include <algorithm>
#include <new>
#include <utility>

#include "api/answer_parts.h"
#include "base/no_memory.h"

namespace gale {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

GenerateSession::GenerateSession(Parts parts, std::shared_ptr<AnswerOutlet> outlet, Pipeline& pipeline,
                                 ServingMetrics& metrics)
    : writer_(std::move(parts.writer)),
      is_stream_(parts.is_stream),
      outlet_(std::move(outlet)),
      pipeline_(pipeline),
      metrics_(metrics),
      progress_(parts.num_requests) {}

void GenerateSession::start(std::vector<GenerateRequest> requests) {
  try {
    submit(std::move(requests));
  } catch (const std::bad_alloc&) {   // some may run already: nobody but the writer knows how their answer ends
    abort(no_memory());
  }
}

void GenerateSession::submit(std::vector<GenerateRequest> requests) {
  {
    const std::lock_guard lock(mutex_);
    handles_.reserve(requests.size());
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    metrics_.params_n.observe(requests[i].n);
    if (requests[i].max_tokens) metrics_.params_max_tokens.observe(*requests[i].max_tokens);
    auto handle = pipeline_.submit(std::move(requests[i]),
                                   [self = shared_from_this(), i](const Event& event) { self->on_event(i, event); });
    if (!handle) return abort(handle.error());
    const std::lock_guard lock(mutex_);
    if (!is_over_) {
      handles_.push_back(std::move(*handle));
      continue;
    }
    break;                       // the client left meanwhile; the handle goes out of scope after the lock, below
  }
}

void GenerateSession::release() {
  std::vector<std::unique_ptr<RequestHandle>>
      handles;  // destroyed without the lock: that waits for a sink that may hold it
  const std::lock_guard lock(mutex_);
  handles.swap(handles_);
  if (std::exchange(is_over_, true)) return;
  is_cancelled_ = true;
  tell_facts();
}

void GenerateSession::abort(const Error& error) {
  on_event(0, Failed{error, std::nullopt});
}

void GenerateSession::on_event(size_t request, const Event& event) {
  const std::lock_guard lock(mutex_);
  if (is_over_) return;
  observe(progress_[request], event);
  deliver(request, event);
}

void GenerateSession::deliver(size_t request, const Event& event) {
  if (is_streaming_ && !held_.empty()) send_held();   // there was no memory for it before
  std::string frames = writer_->add(static_cast<int>(request), event);
  if (held_.empty()) held_.swap(frames);              // what the writer has told is never lost once it streams
  else held_ += frames;
  const std::optional<Failed>& failure = writer_->failure();
  const bool is_done = writer_->is_done();
  if (is_done) tell_facts();
  if (failure && !is_streaming_) {
    const bool is_shed =
        failure->error.code == ErrorCode::kOverloaded || failure->error.code == ErrorCode::kUnavailable;
    if (is_shed) metrics_.count_shed(failure->error.code == ErrorCode::kOverloaded ? "overloaded" : "unavailable");
    outlet_->reply_error(failure->error, failure->retry_after_s.value_or(pipeline_.retry_after_s()));
  } else if (!is_stream_) {
    if (is_done) outlet_->reply_whole(writer_->body());
  } else {
    const bool is_admitted =
        std::all_of(progress_.begin(), progress_.end(), [](const Progress& p) { return p.is_started; });
    if (is_admitted && !is_streaming_) {
      outlet_->start_stream();
      is_streaming_ = true;
    }
    if (!is_streaming_) return;
    send_held();
    if (is_done) outlet_->finish();
  }
  is_over_ = is_done;
}

void GenerateSession::send_held() {
  outlet_->send(held_);
  held_.clear();
}

void GenerateSession::note_finish(std::string_view reason) {
  const bool is_there = std::find(finish_reasons_.begin(), finish_reasons_.end(), reason) != finish_reasons_.end();
  if (!is_there) finish_reasons_.emplace_back(reason);
}

void GenerateSession::tell_facts() try {
  if (std::exchange(are_facts_told_, true)) return;   // frames without memory come again, and so does this
  if (is_cancelled_) {
    note_finish("cancelled");
    for (const Progress& progress : progress_)
      if (!progress.is_over) metrics_.count_failure("abort");
  }
  AnswerFacts facts{.finish_reasons = finish_reasons_};
  std::optional<TimePoint> first;
  for (const Progress& progress : progress_) {
    facts.prompt_tokens += progress.num_prompt_tokens;
    facts.cached_tokens += progress.num_cached;
    facts.completion_tokens += progress.num_generated;
    if (progress.first_token && (!first || *progress.first_token < *first)) first = progress.first_token;
  }
  if (first) facts.first_token_ms = seconds(*first - outlet_->arrival()) * 1e3;
  outlet_->note(facts);
} catch (const std::bad_alloc&) {      // the answer counts, not its line
}

// ---- metrics --------------------------------------------------------------------------------------------------------

void GenerateSession::observe(Progress& progress, const Event& event) {
  if (const auto* started = std::get_if<Started>(&event)) {
    progress.is_started = true;
    progress.num_prompt_tokens = static_cast<int>(started->prompt_tokens.size());
    metrics_.prompt_tokens.add(static_cast<double>(started->prompt_tokens.size()));
    metrics_.request_prompt_tokens.observe(static_cast<double>(started->prompt_tokens.size()));
  } else if (const auto* delta = std::get_if<Delta>(&event)) {
    observe_delta(progress, *delta);
  } else if (const auto* finished = std::get_if<Finished>(&event)) {
    metrics_.count_finish(finished->reason);
    note_finish(finish_name(finished->reason));
  } else if (std::holds_alternative<Pooled>(event)) {
    metrics_.count_finish(ChoiceFinish::kStop);
    note_finish(finish_name(ChoiceFinish::kStop));
  } else if (const auto* completed = std::get_if<Completed>(&event)) {
    const Usage& usage = completed->usage;
    progress.is_over = true;
    progress.num_cached = usage.cached_tokens;
    add_generated(progress, usage.completion_tokens);
    const TimePoint end = now();
    metrics_.latency_s.observe(seconds(end - outlet_->arrival()));
    metrics_.note_request(*completed);
    if (progress.first_token && usage.completion_tokens > 1) {
      metrics_.time_per_token_s.observe(seconds(end - *progress.first_token) / (usage.completion_tokens - 1));
    }
  } else if (std::holds_alternative<Failed>(event)) {
    progress.is_over = true;
    metrics_.count_failure("error");
    note_finish("error");
  }
}

void GenerateSession::observe_delta(Progress& progress, const Delta& delta) {
  add_generated(progress, delta.usage.completion_tokens);
  if (delta.tokens.empty()) return;
  const TimePoint at = now();
  if (!progress.first_token) {
    progress.first_token = at;
    metrics_.first_token_s.observe(seconds(at - outlet_->arrival()));
  }
  const auto choice = static_cast<size_t>(delta.choice);
  if (progress.last_token.size() <= choice) progress.last_token.resize(choice + 1);
  TimePoint& last = progress.last_token[choice];
  const auto num_tokens = delta.tokens.size();
  if (last != TimePoint{})
    metrics_.inter_token_s.observe(seconds(at - last) / static_cast<double>(num_tokens), num_tokens);
  last = at;
}

void GenerateSession::add_generated(Progress& progress, int total) {
  if (total <= progress.num_generated) return;
  metrics_.generation_tokens.add(total - progress.num_generated);
  progress.num_generated = total;
}

}  // namespace gale
