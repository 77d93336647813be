#include "net/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace gale {
namespace {

namespace http = boost::beast::http;
using Progress = RequestParser::Progress;

tl::unexpected<HttpError> broken(int status, std::string message) {
  return tl::unexpected<HttpError>(HttpError{status, std::move(message)});
}

HttpError error_of(const boost::beast::error_code& code) {
  if (code == http::error::body_limit) return {413, "the request's body is over the limit"};
  if (code == http::error::header_limit) return {431, "the request's header fields are too large"};
  return {400, "malformed HTTP request: " + code.message()};
}

bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (equal_ignoring_case(trim_blanks(list.substr(0, comma)), token)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// "http://host/path" names the same as "/path".
std::string_view origin_form(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t slash = target.find('/', scheme.size());
    return slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  return target;
}

}  // namespace

class RequestParser::Machine {
 public:
  explicit Machine(const RequestLimits& limits) : limits_(limits) {
    parser_.eager(false);   // the head, a chunk's line, a chunk or the trailer at a time
    parser_.header_limit(static_cast<std::uint32_t>(limits.max_head_bytes));
    parser_.body_limit(limits.max_body_bytes);
  }

  tl::expected<Progress, HttpError> feed(std::string& input) {
    if (stage_ == Stage::kHead) return feed_head(input);
    if (parser_.is_done()) return Progress::kComplete;
    return feed_body(input);
  }

  bool has_begun() const { return has_begun_; }
  const RequestHead& head() const { return head_; }
  std::string take_body() { return std::move(parser_.get().body()); }
  size_t num_body_bytes() const { return parser_.get().body().size(); }

 private:
  enum class Stage { kHead, kBody };

  tl::expected<Progress, HttpError> feed_head(std::string& input) {
    if (!has_begun_) {
      if (!skip_empty_lines(input)) return Progress::kNeedMore;
      if (!is_token_char(input.front())) return broken(400, "this is not an HTTP request");
      has_begun_ = true;
    }
    // Before all else, so that it does not matter in what pieces a line came.
    if (std::min(input.find_first_of("\r\n"), input.size()) > limits_.max_line_bytes)
      return broken(414, "the request line is too long");
    const size_t end = input.find("\r\n\r\n", scanned_);
    const size_t head_bytes = end == std::string::npos ? input.size() : end + 4;
    if (head_bytes > limits_.max_head_bytes) return broken(431, "the request's header fields are too large");
    if (end == std::string::npos) {
      scanned_ = input.size() < 3 ? 0 : input.size() - 3;
      return Progress::kNeedMore;
    }
    if (auto error = find_rule_break(std::string_view(input).substr(0, head_bytes), limits_)) {
      return tl::unexpected<HttpError>(std::move(*error));
    }
    boost::beast::error_code code;
    parser_.put(boost::asio::buffer(input.data(), head_bytes), code);
    if (code && code != http::error::need_more) return tl::unexpected<HttpError>(error_of(code));
    input.erase(0, head_bytes);
    if (auto error = read_head()) return tl::unexpected<HttpError>(std::move(*error));
    stage_ = Stage::kBody;
    return Progress::kHeadDone;
  }

  // RFC 9112 2.2: empty lines before a request are ignored. False if nothing else is there yet.
  bool skip_empty_lines(std::string& input) {
    size_t skipped = 0;
    while (input.compare(skipped, 2, "\r\n") == 0) skipped += 2;
    input.erase(0, skipped);
    return !input.empty() && input != "\r";
  }

  std::optional<HttpError> read_head() {
    const auto& message = parser_.get();
    head_.method = std::string(message.method_string());
    head_.target = std::string(message.target());
    head_.is_http10 = message.version() == 10;
    for (const auto& field : message) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
      head_.fields.emplace_back(std::move(name), std::string(field.value()));
    }
    const std::string_view connection = head_.field("connection").value_or("");
    head_.keep_alive = head_.is_http10 ? has_token(connection, "keep-alive") : !has_token(connection, "close");
    head_.has_body = !parser_.is_done();
    const std::string_view expect = head_.field("expect").value_or("");
    head_.expects_continue = equal_ignoring_case(expect, "100-continue") && !head_.is_http10;
    if (!expect.empty() && !equal_ignoring_case(expect, "100-continue")) return HttpError{417, "unknown expectation"};
    return read_target();
  }

  std::optional<HttpError> read_target() {
    std::string_view target = origin_form(head_.target);
    target = target.substr(0, target.find('#'));
    const size_t question = target.find('?');
    if (question != std::string_view::npos) head_.query = std::string(target.substr(question + 1));
    auto path = percent_decode(target.substr(0, question));
    if (!path) return HttpError{400, "malformed request target"};
    head_.path = std::move(*path);
    return std::nullopt;
  }

  tl::expected<Progress, HttpError> feed_body(std::string& input) {
    size_t used = 0;
    while (used < input.size() && !parser_.is_done()) {
      const std::string_view rest = std::string_view(input).substr(used);
      // Beast asserts that the last chunk's header does not come alone, so it waits for the byte behind it.
      if (parser_.chunked() && rest == "0\r\n") break;
      const size_t num_before = num_body_bytes();
      boost::beast::error_code code;
      const size_t taken = parser_.put(boost::asio::buffer(rest.data(), rest.size()), code);
      const bool is_broken = code && code != http::error::need_more;
      if (parser_.chunked() && num_body_bytes() == num_before) {
        const size_t num_bytes = taken > 0 ? taken : is_broken ? first_line(rest) : rest.size();
        if (num_bytes > limits_.max_head_bytes) return broken(400, "malformed chunked body");
      }
      if (is_broken) return tl::unexpected<HttpError>(error_of(code));
      used += taken;
      if (taken == 0) break;
    }
    input.erase(0, used);
    return parser_.is_done() ? Progress::kComplete : Progress::kNeedMore;
  }

  // Bytes of a chunk's line, with the end of the chunk before it.
  static size_t first_line(std::string_view rest) {
    return std::min(rest.find("\r\n", rest.starts_with("\r\n") ? 2 : 0), rest.size());
  }

  const RequestLimits limits_;
  http::request_parser<http::string_body> parser_;
  Stage stage_ = Stage::kHead;
  bool has_begun_ = false;
  size_t scanned_ = 0;   // no end of head begins before this
  RequestHead head_;
};

RequestParser::RequestParser(const RequestLimits& limits) : machine_(std::make_unique<Machine>(limits)) {}
RequestParser::~RequestParser() = default;
tl::expected<Progress, HttpError> RequestParser::feed(std::string& input) { return machine_->feed(input); }
bool RequestParser::has_begun() const { return machine_->has_begun(); }
const RequestHead& RequestParser::head() const { return machine_->head(); }
std::string RequestParser::take_body() { return machine_->take_body(); }
size_t RequestParser::num_body_bytes() const { return machine_->num_body_bytes(); }

}  // namespace gale
