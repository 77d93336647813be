#include "net/request_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace gale {
namespace {

using Progress = RequestParser::Progress;

// The status a request is refused with; 0: accepted (with what was read in `parser`), -1: there is more to come.
int feed_all(RequestParser& parser, std::string& bytes) {
  for (;;) {
    const auto progress = parser.feed(bytes);
    if (!progress) return progress.error().status;
    if (*progress == Progress::kComplete) return 0;
    if (*progress == Progress::kNeedMore) return -1;
  }
}
int status_of(const std::string& bytes, RequestLimits limits = {}) {
  RequestParser parser(limits);
  std::string rest = bytes;
  return feed_all(parser, rest);
}
std::string get_with(const std::string& lines) { return "GET / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n"; }
std::string post_with(const std::string& lines, const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n" + body;
}

TEST(RequestParser, reads_head_and_body) {
  RequestParser parser({});
  std::string bytes = "POST /v1/a%2Fb?q=1 HTTP/1.1\r\nHost: x\r\nX-One:  two \r\nContent-Length: 5\r\n\r\nhello";
  ASSERT_EQ(feed_all(parser, bytes), 0);
  EXPECT_EQ(parser.head().method, "POST");
  EXPECT_EQ(parser.head().path, "/v1/a/b");
  EXPECT_EQ(parser.head().query, "q=1");
  EXPECT_EQ(parser.head().field("x-one"), "two");
  EXPECT_TRUE(parser.head().keep_alive);
  EXPECT_EQ(parser.take_body(), "hello");
}

TEST(RequestParser, takes_an_empty_chunked_body_byte_by_byte) {
  const std::string bytes = post_with("Transfer-Encoding: chunked\r\n", "0\r\n\r\n");
  RequestParser parser({});
  std::string input;
  bool is_complete = false;
  for (const char byte : bytes) {
    ASSERT_FALSE(is_complete);
    input += byte;
    auto progress = parser.feed(input);
    if (progress && *progress == Progress::kHeadDone) progress = parser.feed(input);
    ASSERT_TRUE(progress) << progress.error().message;
    is_complete = *progress == Progress::kComplete;
  }
  EXPECT_TRUE(is_complete);
  EXPECT_EQ(parser.take_body(), "");
}

TEST(RequestParser, reads_the_same_whatever_the_pieces) {
  const std::string bytes = post_with("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n");
  for (size_t step = 1; step < 9; ++step) {
    RequestParser parser({});
    std::string input;
    bool is_complete = false;
    for (size_t at = 0; at < bytes.size(); at += step) {
      input += bytes.substr(at, step);
      for (;;) {
        const auto progress = parser.feed(input);
        ASSERT_TRUE(progress) << progress.error().message;
        is_complete = *progress == Progress::kComplete;
        if (*progress != Progress::kHeadDone) break;
      }
    }
    ASSERT_TRUE(is_complete) << step;
    EXPECT_EQ(parser.take_body(), "abcdefg");
  }
}

TEST(RequestParser, leaves_the_next_request_alone) {
  RequestParser parser({});
  std::string input = get_with("") + "GET /next";
  ASSERT_EQ(parser.feed(input).value(), Progress::kHeadDone);
  ASSERT_EQ(parser.feed(input).value(), Progress::kComplete);
  EXPECT_EQ(input, "GET /next");
}

TEST(RequestParser, refuses_what_proxies_read_differently) {
  const std::string body = "0\r\n\r\n";
  EXPECT_EQ(status_of(post_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: 5\r\nContent-Length: 5\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: 5, 5\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: +5\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: 0x5\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: -1\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length: 99999999999999999999\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Content-Length : 5\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: gzip, chunked\r\n", body)), 501);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", body)), 400);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding:\x0b" "chunked\r\n", body)), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + body), 400);
  EXPECT_EQ(status_of(get_with("X: a\r\n folded\r\n")), 400);
  EXPECT_EQ(status_of(get_with("X: a\nY: b\r\n")), 400);
  EXPECT_EQ(status_of(get_with("X: a\rb\r\n")), 400);
  EXPECT_EQ(status_of(get_with(std::string("X: a\0b\r\n", 8))), 400);
  EXPECT_EQ(status_of(get_with("Host: y\r\n")), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET  / HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET a HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x y\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET http://x/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), 0);
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("\x16\x03\x01"), 400);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: chunked\r\n", "zz\r\n")), 400);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: chunked\r\n", "-1\r\n")), 400);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n")), 400);
  EXPECT_EQ(status_of(get_with("")), 0);
}

TEST(RequestParser, holds_its_limits) {
  const RequestLimits limits{.max_line_bytes = 100, .max_head_bytes = 400, .max_fields = 5, .max_body_bytes = 10};
  EXPECT_EQ(status_of("GET /" + std::string(200, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", limits), 414);
  EXPECT_EQ(status_of("GET /" + std::string(200, 'a'), limits), 414);
  EXPECT_EQ(status_of(get_with("X: " + std::string(500, 'a') + "\r\n"), limits), 431);
  EXPECT_EQ(status_of(get_with("X: " + std::string(500, 'a')), limits), 431);
  EXPECT_EQ(status_of(get_with("A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n"), limits), 431);
  EXPECT_EQ(status_of(post_with("Content-Length: 11\r\n", ""), limits), 413);
  EXPECT_EQ(status_of(post_with("Transfer-Encoding: chunked\r\n", "b\r\nhello world\r\n"), limits), 413);
  EXPECT_EQ(status_of(post_with("Content-Length: 10\r\n", "0123456789"), limits), 0);
}

TEST(RequestParser, what_frames_chunks_is_bounded_whatever_the_pieces) {
  const RequestLimits limits{.max_line_bytes = 100, .max_head_bytes = 100, .max_fields = 5, .max_body_bytes = 10};
  const std::string many(101, 'a'), few(60, 'a');
  const std::vector<std::pair<std::string, int>> bodies = {
      {"5\r\nhello\r\n0\r\nT: " + few + "\r\n\r\n", 0},  {"5\r\nhello\r\n0\r\nT: " + many + "\r\n\r\n", 400},
      {"5\r\nhello\r\n0\r\nT: " + many, 400},               {"5;x=" + few + "\r\nhello\r\n0\r\n\r\n", 0},
      {"5;x=" + many + "\r\nhello\r\n0\r\n\r\n", 400},      {"f;x=" + many + "\r\nhello\r\n0\r\n\r\n", 400},
      {"f;x=" + few + "\r\n" + many, 413},                  {"f\r\n" + many, 413},
      {"5\r\nhello\r\nf\r\n" + many, 413},                  {"0;x=" + many + "\r\n\r\n", 400}};
  for (const auto& [body, status] : bodies) {
    const std::string bytes = post_with("TE: a\r\nTransfer-Encoding: chunked\r\n", body);
    EXPECT_EQ(status_of(bytes, limits), status) << body;
    for (size_t step = 1; step < 9; ++step) {
      RequestParser parser(limits);
      std::string input;
      int last = -1;
      for (size_t at = 0; at < bytes.size() && last < 0; at += step) {
        input += bytes.substr(at, step);
        last = feed_all(parser, input);
      }
      EXPECT_EQ(last, status) << body << " in pieces of " << step;
    }
  }
}

}  // namespace
}  // namespace gale
