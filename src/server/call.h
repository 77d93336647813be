#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/errors.h"
#include "base/clock.h"
#include "base/guarded.h"
#include "base/result.h"
#include "net/exchange.h"
#include "server/answer_outlet.h"
#include "server/serving_metrics.h"
#include "serving/tenant_limits.h"

namespace gale {

// One request being answered, as endpoints see it: adds the fields every answer has, writes the access line and the
// HTTP metrics once, when it is over. Thread-safe, like the exchange it wraps.
class Call final : public AnswerOutlet, public std::enable_shared_from_this<Call> {
 public:
  struct Setting {
    std::string route;             // as in the table of routes: a label of metrics
    std::string request_id;
    HttpFields fields;             // for the answer: CORS
    std::function<std::optional<RateLimit>()> rate_limit = nullptr;   // of who asks, when it is answered
    bool is_logged = true;
    ErrorDialect dialect = ErrorDialect::kOpenAi;
  };
  Call(HttpRequest request, std::shared_ptr<Exchange> exchange, Setting setting, ServingMetrics& metrics);

  [[nodiscard]] const HttpRequest& request() const { return request_; }
  [[nodiscard]] const std::string& request_id() const override { return setting_.request_id; }
  [[nodiscard]] TimePoint arrival() const override { return arrival_; }

  void reply(int status, std::string body, std::string_view content_type = "application/json", HttpFields fields = {});
  // retry_after_s goes out with every status that says "later": 429, 503, 529.
  void reply_whole(std::string body) override { reply(200, std::move(body)); }
  void reply_error(const Error& error, int retry_after_s) override;
  void start_stream() override { start_stream({}); }
  void start_stream(const HttpFields& further);
  void send(std::string_view frames) override { exchange_->send(frames); }
  void finish() override { exchange_->finish(); }
  // Called once, when the call is over; `how` as the exchange tells it. A later callback takes the place of an earlier
  // one.
  void on_end(std::function<void(ExchangeEnd)> callback);
  void on_answer_end(std::function<void()> callback) override;
  void note(const AnswerFacts& facts) override;
  [[nodiscard]] bool is_logged() const { return setting_.is_logged; }

 private:
  [[nodiscard]] HttpFields answer_fields(std::string_view content_type) const;
  void note_end(ExchangeEnd how);

  const HttpRequest request_;
  const std::shared_ptr<Exchange> exchange_;     // shared with the connection that writes it
  const Setting setting_;
  ServingMetrics& metrics_;
  const TimePoint arrival_;
  std::atomic<int> status_{0};
  std::atomic<bool> is_noted_{false};
  Guarded<std::optional<AnswerFacts>> facts_;
};

// The access line of a request and its HTTP metrics.
void note_request(ServingMetrics& metrics, const RequestHead& head, const Call::Setting& setting, int status,
                  double elapsed_s, std::optional<AnswerFacts> answer = std::nullopt);

}  // namespace gale
