#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "net/exchange.h"

namespace gale {

// What an exchange needs of the connection that carries it.
class OutputOwner {
 public:
  virtual ~OutputOwner() = default;
  // There is output to take. From any thread.
  virtual void output_ready() noexcept = 0;
};

struct ExchangeTraits {
  bool is_http10 = false;
  bool is_head = false;          // no body is sent, whatever the answer
  bool keep_alive = true;
  size_t max_pending_bytes = 0;
  std::string peer;
};

// Bytes of one answer between the threads that make them and the I/O thread that writes them.
class ExchangeState final : public Exchange {
 public:
  ExchangeState(ExchangeTraits traits, std::shared_ptr<OutputOwner> owner)
      : traits_(std::move(traits)), owner_(std::move(owner)) {}

  void reply(HttpResponse response) override;
  void start_stream(HttpResponse head, std::string ping) override;
  void send(std::string_view bytes) override;
  void finish() override;
  void on_end(std::function<void(ExchangeEnd)> callback) override;

  // ---- the I/O thread's side --------------------------------------------------------------------------------------
  struct Taken {
    bool is_finished = false;    // nothing will follow
  };
  // std::bad_alloc: nothing was taken.
  Taken take_output(std::string& out, TimePoint now);
  // Adds the ping if the stream has been silent for `interval`; true if it did.
  bool ping_if_silent(TimePoint now, Duration interval);
  [[nodiscard]] bool is_overflowing() const;   // the reader is too slow
  [[nodiscard]] bool is_finished() const;
  [[nodiscard]] bool keep_alive() const { return traits_.keep_alive; }
  void end(ExchangeEnd how);

 private:
  void begin_answer(const HttpResponse& response, std::string_view framing);
  void notify(std::unique_lock<std::mutex>& lock) noexcept;

  const ExchangeTraits traits_;
  mutable std::mutex mutex_;
  std::shared_ptr<OutputOwner> owner_;      // shared: a sender may outlive the connection's
                                            // own interest; gone after the end
  std::function<void(ExchangeEnd)> on_end_;
  std::optional<ExchangeEnd> end_;
  std::string head_, pending_, ping_;
  TimePoint last_output_{};
  bool is_started_ = false;
  bool is_stream_ = false;
  bool is_chunked_ = false;
  bool is_finished_ = false;
  bool is_terminated_ = false;              // the last chunk has been taken
  bool is_overflowing_ = false;
  bool is_announced_ = false;               // the owner knows that there is output
};

}  // namespace gale
