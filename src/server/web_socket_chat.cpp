#include "server/web_socket_chat.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "api/chat_body.h"
#include "api/errors.h"
#include "base/no_memory.h"
#include "server/access.h"

namespace gale {
namespace {

constexpr size_t kMaxAnswers = 256;   // at once on one connection
constexpr std::string_view kDataPrefix = "data: ";
constexpr std::string_view kDone = "[DONE]";

}  // namespace

// One request's answer: frames of events become messages.
class WebSocketChat::Answer final : public AnswerOutlet {
 public:
  Answer(std::shared_ptr<WebSocketChat> chat, std::string request_id)
      : chat_(std::move(chat)), request_id_(std::move(request_id)), arrival_(std::chrono::steady_clock::now()) {}

  const std::string& request_id() const override { return request_id_; }
  TimePoint arrival() const override { return arrival_; }
  void reply_whole(std::string body) override {
    chat_->send(request_id_, body);
    finish();
  }
  void reply_error(const Error& error, int retry_after_s) override {
    chat_->send_error(request_id_, error, retry_after_s);
    finish();
  }
  void start_stream() override {}
  void send(std::string_view frames) override {
    frames.remove_prefix(num_sent_bytes_);
    while (!frames.empty()) {
      const size_t end = std::min(frames.find("\n\n"), frames.size());
      const std::string_view frame = frames.substr(0, end);
      if (frame.starts_with(kDataPrefix) && frame.substr(kDataPrefix.size()) != kDone)
        chat_->send(request_id_, frame.substr(kDataPrefix.size()));
      const size_t taken = std::min(end + 2, frames.size());
      frames.remove_prefix(taken);
      num_sent_bytes_ += taken;
    }
    num_sent_bytes_ = 0;
  }
  void finish() override {
    if (!is_finished_) chat_->send(request_id_, R"({"type":"done"})");
    is_finished_ = true;
    chat_->forget_later(request_id_);
  }
  void note(const AnswerFacts& facts) override {
    if (chat_->is_logged_) log_answer(request_id_, seconds(std::chrono::steady_clock::now() - arrival_), facts);
  }
  void on_answer_end(std::function<void()> callback) override {
    const std::lock_guard lock(mutex_);
    on_end_ = std::move(callback);
  }
  // Not from within the session: it ends there.
  void end() {
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      callback = std::exchange(on_end_, nullptr);
    }
    if (callback) callback();
  }

 private:
  const std::shared_ptr<WebSocketChat> chat_;   // shared with the socket; gone from it when the socket closes
  const std::string request_id_;
  const TimePoint arrival_;
  size_t num_sent_bytes_ = 0;                   // of frames that come again, for lack of memory
  bool is_finished_ = false;
  std::mutex mutex_;
  std::function<void()> on_end_;
};

void WebSocketChat::on_message(std::string text) {
  try {
    take(std::move(text));
  } catch (const std::bad_alloc&) {   // the answers to earlier messages go on
    send_error(nullptr, no_memory(), pipeline_.retry_after_s());
  }
}

void WebSocketChat::take(std::string text) {
  Result<Json> message = parse_json(text);
  if (!message) return send_error(nullptr, message.error(), 0);
  if (!message->is_object())
    return send_error(nullptr, {ErrorCode::kInvalidArgument, "a message must be a JSON object", {}}, 0);
  const std::string type = text_field(*message, "type");
  if (type == "cancel") return cancel(text_field(*message, "request_id"));
  if (!type.empty()) {
    return send_error(field_of(*message, "request_id"),
                      {ErrorCode::kInvalidArgument, "type: expected \"cancel\" or no type for a chat", "type"}, 0);
  }
  begin(std::move(*message));
}

void WebSocketChat::begin(Json body) {
  const Json given = field_of(body, "request_id");
  const bool is_named = given.is_string() && is_valid_request_id(given.get_ref<const std::string&>());
  if (!given.is_null() && !is_named) {
    return send_error(
        given, {ErrorCode::kInvalidArgument, "request_id: expected 1 to 128 letters, digits and -_.:", "request_id"},
        0);
  }
  const std::string request_id = is_named ? given.get<std::string>() : fresh_id();
  body.erase("request_id");
  if (!body.contains("stream")) body["stream"] = true;
  Result<Generation> generation = formats_.chat(body, {.request_id = request_id, .owner = owner_});
  if (!generation) return send_error(request_id, generation.error(), 0);
  const auto answer = std::make_shared<Answer>(shared_from_this(), request_id);
  {
    const std::lock_guard lock(mutex_);
    const bool is_full = answers_.size() >= kMaxAnswers;
    if (is_full || !answers_.emplace(request_id, answer).second) {
      generation =
          is_full ? fail(ErrorCode::kOverloaded, "{} answers are under way on this connection already", kMaxAnswers)
                  : fail_param(ErrorCode::kInvalidArgument, "request_id",
                               "request_id: an answer of that name is under way");
    }
  }
  if (!generation) return send_error(request_id, generation.error(), pipeline_.retry_after_s());
  try {
    generations_.start(answer, std::move(*generation));
  } catch (const std::bad_alloc&) {
    forget(request_id);
    send_error(request_id, no_memory(), pipeline_.retry_after_s());
  }
}

void WebSocketChat::cancel(const std::string& request_id) {
  {
    const std::lock_guard lock(mutex_);
    if (!answers_.contains(request_id)) return;   // it is over already: nothing to stop
  }
  forget(request_id);
  send(request_id, R"({"type":"cancelled"})");
}

void WebSocketChat::on_close() {
  std::map<std::string, std::shared_ptr<Answer>> answers;
  {
    const std::lock_guard lock(mutex_);
    answers.swap(answers_);
    socket_.reset();
  }
  for (const auto& [id, answer] : answers) answer->end();
}

void WebSocketChat::send(const std::string& request_id, std::string_view object) {
  std::string message = "{\"request_id\":";
  append_json_string(message, request_id);
  message += ',';
  message += object.substr(1);
  const std::lock_guard lock(mutex_);
  if (socket_) socket_->send(message);
}

void WebSocketChat::send_error(const Json& request_id, const Error& error, int retry_after_s) {
  Json message = parse_json(error_body(error)).value();
  const int status = wire_error(error).status;
  message["status"] = status;
  if (status == 429 || status == 503) message["retry_after"] = retry_after_s;
  if (request_id.is_string()) return send(request_id.get<std::string>(), dump_json(message));
  const std::lock_guard lock(mutex_);
  if (socket_) socket_->send(dump_json(message));
}

void WebSocketChat::forget(const std::string& request_id) {
  std::shared_ptr<Answer> answer;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = answers_.find(request_id);
    if (entry == answers_.end()) return;
    answer = std::move(entry->second);
    answers_.erase(entry);
  }
  answer->end();
}

void WebSocketChat::forget_later(const std::string& request_id) {
  const std::lock_guard lock(mutex_);
  if (socket_) socket_->run_later([self = shared_from_this(), request_id] { self->forget(request_id); });
}

}  // namespace gale
