#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "server/access_log.h"

namespace gale {

// Where the answer to one generating request goes: a call over HTTP, a stream that can be taken up again, a WebSocket.
// Thread-safe; nothing here blocks. Either reply_whole, or reply_error, or start_stream, send … and finish.
class AnswerOutlet {
 public:
  virtual ~AnswerOutlet() = default;
  [[nodiscard]] virtual const std::string& request_id() const = 0;
  [[nodiscard]] virtual TimePoint arrival() const = 0;
  virtual void reply_whole(std::string body) = 0;
  virtual void reply_error(const Error& error, int retry_after_s) = 0;
  virtual void start_stream() = 0;
  // std::bad_alloc: they come again, at the head of the next ones.
  virtual void send(std::string_view frames) = 0;
  virtual void finish() = 0;
  // For the log, once: before the last of the above, or while on_answer_end's callback lets an unfinished answer go.
  virtual void note(const AnswerFacts& facts) = 0;
  // Called once, when all was delivered or nothing more can be. A later callback takes the place of an earlier one.
  virtual void on_answer_end(std::function<void()> callback) = 0;
};

}  // namespace gale
