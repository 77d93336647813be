#include "server/generate_session.h"

#include <gtest/gtest.h>

#include <new>

#include "server/fake_pipeline.h"

namespace gale {
namespace {

// Takes what it is given, but has no memory for the nth frames.
class ScarceOutlet final : public AnswerOutlet {
 public:
  explicit ScarceOutlet(int fails_at) : fails_at_(fails_at) {}
  const std::string& request_id() const override { return request_id_; }
  TimePoint arrival() const override { return {}; }
  void reply_whole(std::string body) override { sent = std::move(body); }
  void reply_error(const Error& error, int) override { sent = error.message; }
  void start_stream() override {}
  void send(std::string_view frames) override {
    if (++num_sends_ == fails_at_) throw std::bad_alloc();
    sent += frames;
  }
  void finish() override { is_finished = true; }
  void note(const AnswerFacts&) override { ++num_notes; }
  void on_answer_end(std::function<void()>) override {}

  std::string sent;
  bool is_finished = false;
  int num_notes = 0;

 private:
  const std::string request_id_ = "r";
  const int fails_at_;
  int num_sends_ = 0;
};

size_t count(const std::string& text, std::string_view part) {
  size_t num = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++num;
  return num;
}

// As the pipeline does: an event for which there is no memory is followed by a failure.
void answer(const FakePipeline& pipeline) {
  try {
    pipeline.answer(0, "abc");
  } catch (const std::bad_alloc&) {
    pipeline.request(0)->sink(Failed{{ErrorCode::kUnavailable, "no memory", {}}, std::nullopt});
  }
}

TEST(GenerateSessionTest, frames_without_memory_come_again_once_and_the_stream_ends_with_done) {
  for (int fails_at = 1; fails_at <= 7; ++fails_at) {
    FakePipeline pipeline;
    ServingMetrics metrics("nano");
    const auto outlet = std::make_shared<ScarceOutlet>(fails_at);
    AnswerInfo info{.id = "chatcmpl-1", .request_id = "r", .model = "nano"};
    info.options.is_stream = true;
    const auto session = std::make_shared<GenerateSession>(
        GenerateSession::Parts{.writer = make_chat_stream(std::move(info)), .is_stream = true}, outlet, pipeline,
        metrics);
    GenerateRequest request;
    request.parse_output = true;
    session->start({request});
    answer(pipeline);
    EXPECT_TRUE(outlet->is_finished) << fails_at;
    EXPECT_EQ(outlet->num_notes, 1) << fails_at;
    EXPECT_EQ(count(outlet->sent, "[DONE]"), 1U) << fails_at << outlet->sent;
    EXPECT_EQ(count(outlet->sent, "assistant"), 1U) << fails_at << outlet->sent;
    for (const std::string_view letter : {"\"a\"", "\"b\"", "\"c\""}) EXPECT_LE(count(outlet->sent, letter), 1U);
    session->release();
  }
}

}  // namespace
}  // namespace gale
