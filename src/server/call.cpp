#include "server/call.h"

#include <cmath>

#include "api/anthropic_messages.h"
#include "api/errors.h"
#include "base/log.h"

namespace gale {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

constexpr int kClientGone = 499;   // in log and metric only

}  // namespace

Call::Call(HttpRequest request, std::shared_ptr<Exchange> exchange, Setting setting, ServingMetrics& metrics)
    : request_(std::move(request)),
      exchange_(std::move(exchange)),
      setting_(std::move(setting)),
      metrics_(metrics),
      arrival_(now()) {
  metrics_.body_bytes.add(static_cast<double>(request_.body.size()));
}

HttpFields Call::answer_fields(std::string_view content_type) const {
  HttpFields fields = setting_.fields;
  fields.emplace_back("Content-Type", std::string(content_type));
  fields.emplace_back("X-Request-Id", setting_.request_id);
  const std::optional<RateLimit> rate = setting_.rate_limit ? setting_.rate_limit() : std::nullopt;
  if (!rate) return fields;
  fields.emplace_back("X-RateLimit-Limit-Requests", fmt::format("{}", rate->limit));
  fields.emplace_back("X-RateLimit-Remaining-Requests", fmt::format("{}", rate->remaining));
  fields.emplace_back("X-RateLimit-Reset-Requests", fmt::format("{:.0f}s", std::ceil(rate->reset_s)));
  return fields;
}

void Call::reply(int status, std::string body, std::string_view content_type, HttpFields fields) {
  status_ = status;
  HttpFields all = answer_fields(content_type);
  for (auto& field : fields) all.push_back(std::move(field));
  exchange_->reply({status, std::move(all), std::move(body)});
}

void Call::reply_error(const Error& error, int retry_after_s) {
  const WireError wire = wire_error(error, setting_.dialect);
  if (wire.status == 500) {
    log_if_possible([&] {
      log_line(LogLevel::kError, fmt::format("request {}: {}", setting_.request_id, error.message),
               {{"request_id", setting_.request_id}});
    });
  }
  HttpFields fields;
  if (wire.status == 429 || wire.status == 503 || wire.status == 529)
    fields.emplace_back("Retry-After", fmt::format("{}", retry_after_s));
  if (wire.status == 401) fields.emplace_back("WWW-Authenticate", "Bearer");
  reply(wire.status, error_body(error, setting_.dialect, setting_.request_id), "application/json", std::move(fields));
}

void Call::start_stream(const HttpFields& further) {
  status_ = 200;
  HttpFields fields = answer_fields("text/event-stream; charset=utf-8");
  fields.emplace_back("Cache-Control", "no-cache");
  fields.emplace_back("X-Accel-Buffering", "no");
  fields.insert(fields.end(), further.begin(), further.end());
  const bool has_ping_event = setting_.dialect == ErrorDialect::kAnthropic;
  exchange_->start_stream({200, std::move(fields), ""}, std::string(has_ping_event ? kMessagesPing : kCommentPing));
}

void Call::on_answer_end(std::function<void()> callback) {
  on_end([callback = std::move(callback)](ExchangeEnd) { callback(); });
}

void Call::on_end(std::function<void(ExchangeEnd)> callback) {
  exchange_->on_end([self = shared_from_this(), callback = std::move(callback)](ExchangeEnd how) {
    if (callback) callback(how);
    self->note_end(how);
  });
}

void Call::note_end(ExchangeEnd how) {
  if (is_noted_.exchange(true)) return;
  if (how == ExchangeEnd::kClientGone) metrics_.client_disconnects.add();
  if (how == ExchangeEnd::kSlowReader) metrics_.slow_readers.add();
  const int status = how == ExchangeEnd::kSent ? status_.load() : kClientGone;
  note_request(metrics_, request_.head, setting_, status, seconds(now() - arrival_),
               facts_.with([](auto& facts) { return std::move(facts); }));
}

void Call::note(const AnswerFacts& facts) {
  facts_.with([&](auto& held) { held = facts; });
}

void note_request(ServingMetrics& metrics, const RequestHead& head, const Call::Setting& setting, int status,
                  double elapsed_s, std::optional<AnswerFacts> answer) {
  metrics.count_http(head.method, setting.route, status, elapsed_s);
  if (!setting.is_logged) return;
  log_access(head, {.status = status,
                    .elapsed_s = elapsed_s,
                    .request_id = setting.request_id,
                    .answer = std::move(answer)});
}

}  // namespace gale
