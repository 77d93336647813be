#include "net/exchange_state.h"

#include <chrono>
#include <ctime>

#include "base/check.h"
#include "base/no_memory.h"

namespace gale {
namespace {

constexpr size_t kChunkFraming = 64;   // of a chunk, and of the last one: more than both ever take

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text, length};
}

}  // namespace

// Nothing has begun if there is no memory for it: another answer may.
void ExchangeState::begin_answer(const HttpResponse& response, std::string_view framing) {
  head_ = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status, reason_phrase(response.status), http_date());
  for (const auto& [name, value] : response.fields) {
    CHECK(value.find_first_of("\r\n") == std::string::npos, "header {} would be split", name);
    fmt::format_to(std::back_inserter(head_), "{}: {}\r\n", name, value);
  }
  head_ += framing;
  if (!traits_.keep_alive) head_ += "Connection: close\r\n";
  head_ += "\r\n";
  is_started_ = true;
}

void ExchangeState::reply(HttpResponse response) {
  std::unique_lock lock(mutex_);
  if (end_ || is_started_) return;
  const bool has_body = response.status != 204 && response.status != 304;
  begin_answer(response, has_body ? fmt::format("Content-Length: {}\r\n", response.body.size()) : std::string());
  if (has_body && !traits_.is_head) pending_ = std::move(response.body);
  is_finished_ = true;
  notify(lock);
}

void ExchangeState::start_stream(HttpResponse head, std::string ping) {
  std::unique_lock lock(mutex_);
  if (end_ || is_started_) return;
  // An HTTP/1.0 stream ends with its connection: the server gives it no keep-alive.
  begin_answer(head, traits_.is_http10 ? "" : "Transfer-Encoding: chunked\r\n");
  is_stream_ = true;
  ping_ = std::move(ping);
  is_chunked_ = !traits_.is_http10;
  notify(lock);
}

void ExchangeState::send(std::string_view bytes) {
  std::unique_lock lock(mutex_);
  if (end_ || is_finished_ || is_overflowing_ || traits_.is_head || bytes.empty()) return;
  if (pending_.size() + bytes.size() > traits_.max_pending_bytes) {
    is_overflowing_ = true;
    is_announced_ = false;   // the owner, stuck in a write, has to hear of this
  } else {
    pending_.append(bytes);
  }
  notify(lock);
}

void ExchangeState::finish() {
  std::unique_lock lock(mutex_);
  if (end_ || is_finished_) return;
  is_finished_ = true;
  notify(lock);
}

void ExchangeState::notify(std::unique_lock<std::mutex>& lock) noexcept {
  if (is_announced_ || !owner_) return;
  is_announced_ = true;
  const std::shared_ptr<OutputOwner> owner = owner_;
  lock.unlock();
  owner->output_ready();
}

void ExchangeState::on_end(std::function<void(ExchangeEnd)> callback) {
  std::unique_lock lock(mutex_);
  if (!end_) {
    on_end_ = std::move(callback);
    return;
  }
  const ExchangeEnd how = *end_;
  lock.unlock();
  callback(how);
}

ExchangeState::Taken ExchangeState::take_output(std::string& out, TimePoint now) {
  const std::lock_guard lock(mutex_);
  is_announced_ = false;
  out.reserve(out.size() + head_.size() + pending_.size() + kChunkFraming);
  out += head_;
  head_.clear();
  if (is_chunked_ && !traits_.is_head) {
    if (!pending_.empty()) {
      fmt::format_to(std::back_inserter(out), "{:x}\r\n", pending_.size());
      out += pending_;
      out += "\r\n";
    }
    if (is_finished_ && !is_terminated_) out += "0\r\n\r\n";
    is_terminated_ = is_finished_;
  } else if (out.empty()) {
    out.swap(pending_);
  } else {
    out += pending_;
  }
  pending_.clear();
  if (!out.empty()) last_output_ = now;
  return {is_finished_};
}

bool ExchangeState::ping_if_silent(TimePoint now, Duration interval) {
  const std::lock_guard lock(mutex_);
  const bool is_due = is_stream_ && !is_finished_ && pending_.empty() && now - last_output_ >= interval;
  if (is_due) pending_ = ping_;
  return is_due;
}

bool ExchangeState::is_overflowing() const {
  const std::lock_guard lock(mutex_);
  return is_overflowing_;
}

bool ExchangeState::is_finished() const {
  const std::lock_guard lock(mutex_);
  return is_finished_;
}

void ExchangeState::end(ExchangeEnd how) {
  std::function<void(ExchangeEnd)> callback;
  std::shared_ptr<OutputOwner> owner;   // released after the lock
  {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    end_ = how;
    callback = std::move(on_end_);
    on_end_ = nullptr;
    owner = std::move(owner_);
    pending_ = {};
  }
  if (!callback) return;
  when_there_is_memory([&] { callback(how); });   // this is how a request hears that nobody waits for it
}

}  // namespace gale
