#include "server/api_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/json.h"
#include "net/test_client.h"
#include "server/fake_pipeline.h"

namespace gale {
namespace {

std::string post(const std::string& path, const std::string& body, const std::string& lines = "") {
  return fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}",
                     path, lines, body.size(), body);
}
std::string get(const std::string& path, const std::string& lines = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n", path, lines);
}
int status_of(const std::string& answer) { return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3)); }
Json body_of(const std::string& answer) {
  const auto body = parse_json(answer.substr(answer.find("\r\n\r\n") + 4));
  return body ? *body : Json();
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const std::string kChat = R"({"messages":[{"role":"user","content":"hi"}]})";
const std::string kChatStream = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";

class ApiServerTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void start(ServerConfig config) {
    server_.reset();
    config.http.host = "127.0.0.1";
    config.http.port = 0;
    auto started = ApiServer::start(config, pipeline_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  std::string ask(const std::string& request) const {
    TestClient client(server_->port());
    return client.ask(request);
  }
  [[nodiscard]] bool has_request(size_t i) const {
    return eventually([&] { return pipeline_.request(i) != nullptr; });
  }
  FakePipeline pipeline_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(ApiServerTest, answers_a_chat_whole) {
  TestClient client(server_->port());
  client.send(post("/v1/chat/completions", kChat));
  ASSERT_TRUE(has_request(0));
  pipeline_.answer(0, "hello");
  const std::string answer = client.ask("");
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_EQ(body_of(answer)["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(body_of(answer)["usage"]["completion_tokens"], 5);
  EXPECT_TRUE(eventually([&] { return pipeline_.is_cancelled(0); }));   // the handle is let go
  EXPECT_TRUE(eventually([this] { return server_->num_live_requests() == 0; }));
}

TEST_F(ApiServerTest, streams_a_chat) {
  TestClient client(server_->port());
  client.send(post("/v1/chat/completions", kChatStream));
  ASSERT_TRUE(has_request(0));
  pipeline_.answer(0, "hello");
  const std::string answer = client.read_until("0\r\n\r\n");
  EXPECT_TRUE(has(answer, "text/event-stream; charset=utf-8"));
  EXPECT_TRUE(has(answer, "X-Accel-Buffering: no"));
  EXPECT_TRUE(has(answer, R"("finish_reason":"stop")"));
  EXPECT_TRUE(has(answer, "data: [DONE]\n\n"));
}

TEST_F(ApiServerTest, a_failure_before_the_stream_has_a_status_and_one_within_it_a_frame) {
  TestClient early(server_->port());
  early.send(post("/v1/chat/completions", kChatStream));
  ASSERT_TRUE(has_request(0));
  pipeline_.request(0)->sink(Failed{{ErrorCode::kContextLength, "too long", "messages"}, {}});
  const std::string refused = early.ask("");
  EXPECT_EQ(status_of(refused), 400);
  EXPECT_EQ(body_of(refused)["error"]["code"], "context_length_exceeded");
  TestClient late(server_->port());
  late.send(post("/v1/chat/completions", kChatStream));
  ASSERT_TRUE(has_request(1));
  pipeline_.request(1)->sink(Started{{1}});
  pipeline_.request(1)->sink(Failed{{ErrorCode::kInternal, "/secret/path broke", ""}, {}});
  const std::string broken = late.read_until("0\r\n\r\n");
  EXPECT_TRUE(has(broken, "data: {\"error\":"));
  EXPECT_TRUE(has(broken, "data: [DONE]\n\n"));
  EXPECT_FALSE(has(broken, "secret"));
}

TEST_F(ApiServerTest, a_client_that_leaves_cancels_also_without_a_stream) {
  size_t i = 0;
  for (const std::string& body : {kChat, kChatStream}) {
    TestClient client(server_->port());
    client.send(post("/v1/chat/completions", body));
    ASSERT_TRUE(has_request(i));
    client.close();
    EXPECT_TRUE(eventually([&] { return pipeline_.is_cancelled(i); }));
    ++i;
  }
  EXPECT_TRUE(eventually([&] { return has(ask(get("/metrics")), "client_disconnects_total 2"); }));
}

TEST_F(ApiServerTest, refusals_say_when_to_come_back) {
  pipeline_.refusal = Error{ErrorCode::kOverloaded, "queue full", ""};
  const std::string busy = ask(post("/v1/chat/completions", kChatStream));
  EXPECT_EQ(status_of(busy), 429);
  EXPECT_TRUE(has(busy, "Retry-After: 7\r\n"));
  pipeline_.refusal = Error{ErrorCode::kUnavailable, "loading", ""};
  EXPECT_EQ(status_of(ask(post("/v1/chat/completions", kChat))), 503);
}

TEST_F(ApiServerTest, errors_come_in_the_order_of_the_contract) {
  ServerConfig config;
  config.api_keys = {"one", "two"};
  start(config);
  EXPECT_EQ(status_of(ask(get("/nothing"))), 404);
  const std::string wrong_method = ask(get("/v1/completions"));
  EXPECT_EQ(status_of(wrong_method), 405);
  EXPECT_TRUE(has(wrong_method, "Allow: POST\r\n"));
  const std::string no_key =
      ask("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n{");
  EXPECT_EQ(status_of(no_key), 401);
  EXPECT_TRUE(has(no_key, "WWW-Authenticate: Bearer"));
  const std::string key = "Authorization: Bearer two\r\n";
  EXPECT_EQ(status_of(ask(post("/v1/chat/completions", "{", key))), 400);
  EXPECT_EQ(status_of(ask("POST /tokenize HTTP/1.1\r\nHost: x\r\nX-Api-Key: one\r\nContent-Type: "
                          "text/plain\r\nContent-Length: 2\r\n\r\n{}")),
            415);
  EXPECT_EQ(status_of(ask(get("/metrics"))), 401);
  EXPECT_EQ(status_of(ask(get("/health"))), 200);
  EXPECT_EQ(status_of(ask(get("/v1/models", "Authorization: Bearer tw\r\n"))), 401);
  EXPECT_EQ(status_of(ask(get("/v1/models", "Authorization: Bearer \r\n"))), 401);
}

TEST_F(ApiServerTest, odd_bodies_are_400_and_hurt_nobody) {
  for (const std::string& body :
       {std::string("{"), std::string("[]"), std::string("\xff"), std::string(300'000, '['),
        std::string(R"({"messages":[]})"), std::string(R"({"messages":3})"), std::string("{}"),
        R"({"messages":[{"role":"user","content":")" + std::string(200'000, 'x') + R"("}],"n":1e300})"}) {
    const std::string answer = ask(post("/v1/chat/completions", body));
    EXPECT_EQ(status_of(answer), 400) << answer.substr(0, 300);
    EXPECT_EQ(body_of(answer)["error"].size(), 4U);
    EXPECT_LT(answer.size(), 1000U);
  }
  EXPECT_EQ(
      status_of(ask(post("/v1/chat/completions", R"({"model":"other","messages":[{"role":"user","content":"x"}]})"))),
      404);
}

TEST_F(ApiServerTest, shows_models_without_paths) {
  const std::string list = ask(get("/v1/models"));
  EXPECT_EQ(body_of(list)["data"].size(), 2U);
  EXPECT_EQ(body_of(list)["data"][0]["max_model_len"], 100);
  EXPECT_FALSE(has(list, "secret"));
  EXPECT_EQ(body_of(ask(get("/v1/models/org%2Fnano")))["id"], "org/nano");
  EXPECT_EQ(status_of(ask(get("/v1/models/none"))), 404);
}

TEST_F(ApiServerTest, tokenizes_and_back) {
  const Json tokens = body_of(ask(post("/tokenize", R"({"prompt":"ab","return_token_strs":true})")));
  EXPECT_EQ(tokens["count"], 2);
  EXPECT_EQ(tokens["token_strs"], Json::parse(R"(["a","b"])"));
  EXPECT_EQ(body_of(ask(post("/detokenize", R"({"tokens":[97,98]})")))["prompt"], "ab");
  EXPECT_EQ(status_of(ask(post("/detokenize", R"({"tokens":[-1]})"))), 400);
}

TEST_F(ApiServerTest, echoes_request_ids_that_are_safe) {
  EXPECT_TRUE(has(ask(get("/live", "X-Request-Id: a-b.c\r\n")), "X-Request-Id: a-b.c\r\n"));
  EXPECT_FALSE(has(ask(get("/live", "X-Request-Id: a b\r\n")), "X-Request-Id: a b\r\n"));
  EXPECT_FALSE(has(ask(get("/live", "X-Request-Id: " + std::string(200, 'a') + "\r\n")), std::string(200, 'a')));
}

TEST_F(ApiServerTest, answers_a_browsers_preflight) {
  const std::string answer = ask("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n");
  EXPECT_EQ(status_of(answer), 204);
  EXPECT_TRUE(has(answer, "Access-Control-Allow-Origin: *"));
  EXPECT_TRUE(has(answer, "Authorization"));
  EXPECT_FALSE(has(answer, "Allow-Credentials"));
}

TEST_F(ApiServerTest, health_follows_the_pipeline) {
  for (const char* path : {"/health", "/ready"}) EXPECT_EQ(status_of(ask(get(path))), 200);
  pipeline_.health = Health::kStalled;
  for (const char* path : {"/health", "/ready"}) EXPECT_EQ(status_of(ask(get(path))), 503);
  EXPECT_EQ(status_of(ask(get("/live"))), 200);
  pipeline_.health = Health::kDraining;
  EXPECT_EQ(status_of(ask(get("/health"))), 200);
  EXPECT_EQ(status_of(ask(get("/ready"))), 503);
}

TEST_F(ApiServerTest, leaves_after_the_last_answer_and_cuts_with_an_error_frame_when_time_is_up) {
  TestClient kept(server_->port());
  kept.send(post("/v1/chat/completions", kChatStream));
  ASSERT_TRUE(has_request(0));
  pipeline_.request(0)->sink(Started{{1}});
  TestClient probe(server_->port());
  EXPECT_EQ(status_of(probe.ask(get("/ready"))), 200);
  int num_cut = -1;
  std::atomic<bool> is_time_up = false;
  std::thread leaving([&] {
    num_cut = server_->shut_down({.timeout = std::chrono::minutes(5)}, [&] { return is_time_up.load(); });
  });
  EXPECT_TRUE(eventually([&] { return status_of(ask(get("/ready"))) == 503; }));
  EXPECT_TRUE(eventually([&] { return has(ask(get("/live")), "Connection: close"); }));
  EXPECT_EQ(status_of(ask(post("/v1/chat/completions", kChat))), 503);
  is_time_up = true;
  const std::string rest = kept.read_all();
  leaving.join();
  EXPECT_EQ(num_cut, 1);
  EXPECT_TRUE(has(rest, "data: {\"error\":"));
  EXPECT_TRUE(has(rest, "data: [DONE]\n\n"));
}

}  // namespace
}  // namespace gale
