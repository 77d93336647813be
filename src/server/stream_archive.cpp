#include "server/stream_archive.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <iterator>
#include <new>
#include <utility>
#include <vector>

#include "server/access.h"

namespace gale {
namespace {

constexpr std::chrono::milliseconds kSweepInterval{500};

TimePoint now() { return std::chrono::steady_clock::now(); }

tl::unexpected<Error> gone() {
  return fail_param(ErrorCode::kNotFound, "stream_id", "there is no such stream (any more): begin a new one");
}

}  // namespace

// One stream: its events, and the call that reads them at the moment.
class StreamArchive::Stream final : public AnswerOutlet, public std::enable_shared_from_this<Stream> {
 public:
  Stream(const StreamArchiveConfig& config, std::string id, std::string owner, std::shared_ptr<Call> call)
      : config_(config),
        id_(std::move(id)),
        owner_(std::move(owner)),
        request_id_(call->request_id()),
        arrival_(call->arrival()),
        is_logged_(call->is_logged()),
        call_(std::move(call)),
        left_at_(now()) {}

  const std::string& id() const { return id_; }
  const std::string& owner() const { return owner_; }
  const std::string& request_id() const override { return request_id_; }
  TimePoint arrival() const override { return arrival_; }

  void reply_whole(std::string body) override {
    const std::lock_guard lock(mutex_);
    if (call_) call_->reply_whole(std::move(body));
  }
  void reply_error(const Error& error, int retry_after_s) override {
    const std::lock_guard lock(mutex_);
    is_finished_ = true;
    if (call_) call_->reply_error(error, retry_after_s);
  }
  void start_stream() override {
    const std::lock_guard lock(mutex_);
    is_started_ = true;
    if (call_) call_->start_stream({{"X-Stream-Id", id_}});
  }
  void send(std::string_view frames) override {
    const std::lock_guard lock(mutex_);
    const size_t num_before = events_.size();
    try {
      take(frames);
    } catch (const std::bad_alloc&) {   // they come again
      events_.resize(num_before);
      throw;
    }
    for (size_t i = num_before; i < events_.size(); ++i) num_bytes_ += events_[i].size();
    while (num_bytes_ > config_.max_stream_bytes) {
      num_bytes_ -= events_.front().size();
      events_.pop_front();
      ++first_;
    }
  }
  void finish() override {
    const std::lock_guard lock(mutex_);
    is_finished_ = true;
    if (call_) call_->finish();
    else left_at_ = now();
  }
  void note(const AnswerFacts& facts) override {
    const std::lock_guard lock(mutex_);
    if (call_) call_->note(facts);
    else if (is_logged_) log_answer(request_id_, seconds(now() - arrival_), facts);
  }
  void on_answer_end(std::function<void()> callback) override {
    const std::lock_guard lock(mutex_);
    on_end_ = std::move(callback);
  }

  // Lets `call` be the reader from event `from` on; whoever read until now is sent away.
  Status attach(const std::shared_ptr<Call>& call, uint64_t from) {
    std::shared_ptr<Call> earlier;
    {
      const std::lock_guard lock(mutex_);
      if (!is_started_ || is_ended_) return gone();
      if (from < first_ || from > first_ + events_.size()) {
        return fail_param(ErrorCode::kInvalidArgument, "from", "from: events {} to {} are kept, {} is asked for",
                          first_, first_ + events_.size(), from);
      }
      earlier = std::exchange(call_, call);
      call->start_stream({{"X-Stream-Id", id_}});
      for (size_t i = from - first_; i < events_.size(); ++i) call->send(events_[i]);
      if (is_finished_) call->finish();
    }
    if (earlier) earlier->finish();
    watch(call);
    return {};
  }
  // To be told when the call ends; outside of the lock, as that may be at once.
  void watch(const std::shared_ptr<Call>& call) {
    call->on_end([self = shared_from_this(), raw = call.get()](ExchangeEnd) { self->on_call_end(raw); });
  }
  // Ends the stream, whoever reads it: the session is let go. Not from within the session.
  void end() {
    std::shared_ptr<Call> call;
    {
      const std::lock_guard lock(mutex_);
      is_ended_ = true;
      call = std::exchange(call_, nullptr);
    }
    if (call) call->finish();
    let_go();
  }
  // What the session could not do itself while it said its last words to nobody.
  void tidy() {
    if (is_over()) let_go();
  }
  [[nodiscard]] bool is_abandoned(TimePoint at) const {
    const std::lock_guard lock(mutex_);
    return !call_ && (!is_started_ || at - left_at_ > config_.window);
  }
  [[nodiscard]] bool is_over() const {
    const std::lock_guard lock(mutex_);
    return is_finished_ && !call_;
  }
  [[nodiscard]] size_t num_bytes() const {
    const std::lock_guard lock(mutex_);
    return num_bytes_;
  }

 private:
  void take(std::string_view frames) {
    std::string all;
    while (!frames.empty()) {
      const size_t end = std::min(frames.find("\n\n"), frames.size() - 2) + 2;
      events_.push_back(fmt::format("id: {}:{}\n{}", id_, first_ + events_.size(), frames.substr(0, end)));
      frames.remove_prefix(end);
      all += events_.back();
    }
    if (call_) call_->send(all);
  }
  void on_call_end(const Call* call) {
    {
      const std::lock_guard lock(mutex_);
      if (call_.get() != call) return;
      call_.reset();
      left_at_ = now();
      if (is_started_ && !is_finished_) return;     // the client may come back
    }
    let_go();                                       // the events stay for one that missed the last of them
  }
  void let_go() {
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      callback = std::exchange(on_end_, nullptr);
    }
    if (callback) callback();
  }

  const StreamArchiveConfig& config_;
  const std::string id_, owner_, request_id_;
  const TimePoint arrival_;
  const bool is_logged_;
  mutable std::mutex mutex_;                        // guards what follows
  std::shared_ptr<Call> call_;                      // shared with its exchange; null while nobody reads
  std::function<void()> on_end_;
  std::deque<std::string> events_;
  uint64_t first_ = 0;                              // number of the first that is kept
  size_t num_bytes_ = 0;
  TimePoint left_at_;
  bool is_started_ = false, is_finished_ = false, is_ended_ = false;
};

StreamArchive::StreamArchive(const StreamArchiveConfig& config)
    : config_(config), ticker_(kSweepInterval, [this] { sweep(); }) {}

StreamArchive::~StreamArchive() {
  std::map<std::string, std::shared_ptr<Stream>> streams;
  {
    const std::lock_guard lock(mutex_);
    streams.swap(streams_);
  }
  for (const auto& [id, stream] : streams) stream->end();
}

bool StreamArchive::is_wanted(const RequestHead& head) {
  return equal_ignoring_case(head.field("x-stream-resumable").value_or(""), "true");
}

Result<std::shared_ptr<AnswerOutlet>> StreamArchive::open(const std::shared_ptr<Call>& call, const std::string& owner) {
  const auto stream = std::make_shared<Stream>(config_, "stream_" + fresh_id(), owner, call);
  std::vector<std::shared_ptr<Stream>> dropped;
  {
    const std::lock_guard lock(mutex_);
    size_t num_bytes = 0;
    for (const auto& [id, held] : streams_) num_bytes += held->num_bytes();
    // Those that are complete make room first.
    for (auto entry = streams_.begin(); entry != streams_.end() && num_bytes > config_.max_bytes;) {
      const bool is_over = entry->second->is_over();
      if (is_over) num_bytes -= entry->second->num_bytes();
      if (is_over) dropped.push_back(entry->second);
      entry = is_over ? streams_.erase(entry) : std::next(entry);
    }
    if (num_bytes > config_.max_bytes) {
      return fail(ErrorCode::kOverloaded,
                  "the events of resumable streams take {} bytes already: try without X-Stream-Resumable", num_bytes);
    }
    streams_.emplace(stream->id(), stream);
  }
  for (const auto& complete : dropped) complete->end();
  stream->watch(call);
  return stream;
}

Result<std::shared_ptr<StreamArchive::Stream>> StreamArchive::find(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = streams_.find(id);
  if (entry == streams_.end() || entry->second->owner() != owner) return gone();
  return entry->second;
}

Status StreamArchive::resume(const std::shared_ptr<Call>& call, const std::string& owner, const std::string& id,
                             uint64_t from) {
  GALE_ASSIGN(const std::shared_ptr<Stream> stream, find(owner, id));
  return stream->attach(call, from);
}

Status StreamArchive::cancel(const std::string& owner, const std::string& id) {
  GALE_ASSIGN(const std::shared_ptr<Stream> stream, find(owner, id));
  {
    const std::lock_guard lock(mutex_);
    streams_.erase(id);
  }
  stream->end();
  return {};
}

void StreamArchive::sweep() {
  std::vector<std::shared_ptr<Stream>> abandoned, others;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint at = now();
    for (auto entry = streams_.begin(); entry != streams_.end();) {
      const bool is_abandoned = entry->second->is_abandoned(at);
      (is_abandoned ? abandoned : others).push_back(entry->second);
      entry = is_abandoned ? streams_.erase(entry) : std::next(entry);
    }
  }
  for (const auto& stream : abandoned) stream->end();
  for (const auto& stream : others) stream->tidy();
}

std::optional<StreamArchive::EventId> StreamArchive::parse_event_id(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  EventId id{.stream = std::string(text.substr(0, colon))};
  const std::string_view number = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id.number);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return id;
}

}  // namespace gale
