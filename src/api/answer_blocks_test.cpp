#include "api/answer_blocks.h"

#include <gmock/gmock.h>

#include "api/anthropic_messages.h"
#include "api/openai_responses.h"

namespace gale {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<ChatDelta> kParts = {
    ReasoningDelta{"hm"},         ReasoningDelta{"m"},         ContentDelta{"let me "},
    ContentDelta{"look"},         ToolCallStart{0, "c0", "f"}, ToolArgumentsDelta{0, "{\"a\""},
    ToolArgumentsDelta{0, ":1}"}, ToolCallStart{1, "c1", "g"}, ToolArgumentsDelta{1, "{}"}};

AnswerInfo info_of(bool is_stream) {
  AnswerInfo info{.id = "resp_x", .request_id = "r", .model = "m", .created = 5};
  info.options.is_stream = is_stream;
  return info;
}

// The whole answer, the parts coming in steps of `size`.
std::string told(AnswerWriter& writer, size_t size, ChoiceFinish reason = ChoiceFinish::kToolCalls) {
  std::string out = writer.add(0, Started{{1, 2, 3}});
  Usage usage{.prompt_tokens = 3, .completion_tokens = 9, .cached_tokens = 2, .reasoning_tokens = 2};
  for (size_t begin = 0; begin < kParts.size(); begin += size) {
    Delta delta{.usage = usage};
    for (size_t i = begin; i < std::min(begin + size, kParts.size()); ++i) delta.parts.push_back(kParts[i]);
    out += writer.add(0, delta);
  }
  out += writer.add(0, Finished{.reason = reason});
  return out + writer.add(0, Completed{usage});
}

TEST(MessagesWriter, blocks_do_not_depend_on_how_deltas_come_together) {
  auto whole = make_messages_writer(info_of(false));
  EXPECT_EQ(told(*whole, 1), "");
  const Json body = parse_json(whole->body()).value();
  EXPECT_EQ(
      dump_json(body["content"]),
      R"([{"type":"thinking","thinking":"hmm","signature":"Z2FsZQ=="},{"type":"text","text":"let me look"},)"
      R"({"type":"tool_use","id":"c0","name":"f","input":{"a":1}},)"
      R"({"type":"tool_use","id":"c1","name":"g","input":{}}])");
  EXPECT_EQ(body["stop_reason"], "tool_use");
  EXPECT_EQ(body["usage"]["input_tokens"], 1);   // what no cache had
  for (size_t size = 1; size <= kParts.size(); ++size) {
    auto stream = make_messages_writer(info_of(true));
    auto other = make_messages_writer(info_of(true));
    EXPECT_EQ(told(*stream, size), told(*other, 1));
    auto again = make_messages_writer(info_of(false));
    (void)told(*again, size);
    EXPECT_EQ(again->body(), whole->body());
  }
}

TEST(MessagesWriter, an_error_within_the_stream_is_an_event) {
  auto writer = make_messages_writer(info_of(true));
  std::string out = writer->add(0, Started{{1}});
  out += writer->add(0, Failed{{ErrorCode::kInternal, "/secret broke", {}}, {}});
  EXPECT_THAT(out, HasSubstr("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""));
  EXPECT_THAT(out, Not(HasSubstr("secret")));
  EXPECT_TRUE(writer->is_done());
}

TEST(ResponsesWriter, numbers_its_events_and_keeps_what_it_said) {
  StoredResponse kept;
  ResponsesEcho echo{.fields = {{"store", true}}, .input = Json::array({{{"role", "user"}, {"content", "hi"}}})};
  auto writer =
      make_responses_writer(info_of(true), echo, [&](StoredResponse response) { kept = std::move(response); });
  const std::string out = told(*writer, 2);
  int64_t number = 0;
  for (size_t at = out.find("\"sequence_number\":"); at != std::string::npos;
       at = out.find("\"sequence_number\":", at + 1)) {
    EXPECT_EQ(std::stoll(out.substr(at + 18)), number++);
  }
  EXPECT_GT(number, 20);
  EXPECT_THAT(out, testing::StartsWith("event: response.created\n"));
  EXPECT_EQ(kept.response["status"], "completed");
  EXPECT_EQ(kept.response["output"].size(), 4u);
  EXPECT_EQ(kept.items.size(), 5u);
  EXPECT_EQ(kept.num_input_items, 1u);
  EXPECT_EQ(kept.response["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
}

TEST(ResponsesWriter, says_what_was_cut_short) {
  auto writer = make_responses_writer(info_of(true), {.fields = Json::object()}, {});
  EXPECT_THAT(told(*writer, 3, ChoiceFinish::kLength), HasSubstr("event: response.incomplete\n"));
  auto failing = make_responses_writer(info_of(true), {.fields = Json::object()}, {});
  (void)failing->add(0, Started{{1}});
  EXPECT_THAT(failing->add(0, Failed{{ErrorCode::kUnavailable, "leaving", {}}, {}}),
              HasSubstr("\"error\":{\"code\":\"unavailable\",\"message\":\"leaving\"}"));
}

}  // namespace
}  // namespace gale
