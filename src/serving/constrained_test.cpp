#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/pipeline_testing.h"

// What of a request's form and limits reaches the engine, and what does not get that far.
namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// "compiled" in place of every grammar; those that hold "bad" are refused.
class EchoCompiler final : public GrammarCompiler {
 public:
  Result<std::string> compile(const std::string& tag) override {
    if (tag.find("bad") != std::string::npos) return fail(ErrorCode::kInvalidArgument, "no good");
    return "compiled " + tag;
  }
};

class ConstrainedTest : public PipelineTest {
 protected:
  ConstrainedTest() {
    config_.grammar_compiler = [](const auto&) { return std::make_unique<EchoCompiler>(); };
  }
  static GenerateRequest chat(const Json& kwargs = Json::object()) {
    ChatInput input;
    input.messages = Json::array({{{"role", "user"}, {"content", "hello"}}});
    input.template_kwargs = kwargs;
    return {.prompt = input, .sampling = {.seed = 11}, .max_tokens = 3, .parse_output = true};
  }
  static AnswerRules text(const std::string& value) {
    return {.text_format = {{"type", "const_string"}, {"value", value}}, .text_param = "guided_choice"};
  }
};

TEST_F(ConstrainedTest, a_grammar_goes_to_the_engine_and_waits_for_the_end_of_thinking) {
  start_and_wait();
  Client client;
  GenerateRequest asked = chat();
  asked.rules = text("yes");
  asked.ignore_eos = true;
  asked.min_tokens = 2;
  run(std::move(asked), client);
  const Submit submit = record().submits.at(0);
  EXPECT_THAT(submit.grammar.str(), HasSubstr("yes"));
  EXPECT_EQ(submit.thinking.close, load_tokenizer()->find_added_token("</think>"));
  EXPECT_EQ(submit.thinking.open, kNoToken);   // the built-in template opens thinking
  EXPECT_EQ(submit.thinking.budget, -1);
  EXPECT_EQ(submit.stop.min_tokens, 0);
  EXPECT_THAT(submit.stop.stop_token_ids, testing::Contains(8128)) << "the grammar says where it ends";
}

TEST_F(ConstrainedTest, without_thinking_a_grammar_holds_at_once) {
  start_and_wait();
  Client client;
  GenerateRequest asked = chat({{"enable_thinking", false}});
  asked.rules = text("yes");
  asked.n = 2;
  run(std::move(asked), client);
  EXPECT_EQ(record().submits.at(0).thinking, Thinking{});
  EXPECT_EQ(record().submits.at(0).grammar, record().submits.at(1).grammar);
}

TEST_F(ConstrainedTest, a_raw_prompt_has_no_thinking) {
  start_and_wait();
  Client client;
  GenerateRequest asked = request(3);
  asked.rules = text("yes");
  asked.thinking_budget = 5;
  run(std::move(asked), client);
  EXPECT_EQ(record().submits.at(0).thinking, Thinking{});
}

TEST_F(ConstrainedTest, a_budget_goes_without_a_grammar) {
  start_and_wait();
  Client client;
  GenerateRequest asked = chat();
  asked.thinking_budget = 7;
  run(std::move(asked), client);
  EXPECT_TRUE(record().submits.at(0).grammar.empty());
  EXPECT_EQ(record().submits.at(0).thinking.budget, 7);
}

TEST_F(ConstrainedTest, a_bad_grammar_is_refused_by_the_name_of_its_field) {
  start_and_wait();
  Client client;
  GenerateRequest asked = chat();
  asked.rules = text("bad");
  run(std::move(asked), client);
  ASSERT_TRUE(client.failed());
  EXPECT_EQ(client.failed()->error.code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(client.failed()->error.param, "guided_choice");
  EXPECT_TRUE(record().submits.empty());
}

TEST_F(ConstrainedTest, without_a_compiler_forms_are_refused) {
  config_.grammar_compiler = nullptr;
  start_and_wait();
  Client client;
  GenerateRequest asked = chat();
  asked.rules = text("yes");
  run(std::move(asked), client);
  EXPECT_EQ(client.failed()->error.code, ErrorCode::kUnimplemented);
}

TEST_F(ConstrainedTest, a_request_that_takes_too_long_ends_and_is_cancelled) {
  config_.request_timeout = milliseconds(300);
  engine_.may_step = [](int) { return false; };
  start_and_wait();
  Client client;
  run(request(400), client);
  ASSERT_TRUE(client.failed());
  EXPECT_EQ(client.failed()->error.code, ErrorCode::kDeadline);
  // Where the machine was so slow that the engine had not heard of it, there is nothing to cancel.
  EXPECT_TRUE(wait_until([this] {
    const FakeRecord told = record();
    return told.cancels.size() == told.submits.size() && told.num_live == 0;
  }));
}

TEST_F(ConstrainedTest, each_key_has_its_own_limit) {
  config_.admission.tenants.max_live_requests = 1;
  engine_.may_step = [](int) { return false; };
  start_and_wait();
  Client first, second;
  GenerateRequest asked = request(400);
  asked.tenant = "a";
  const auto handle = submit(asked, first);
  const auto refused = pipeline_->submit(asked, second.sink());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOverloaded);
  asked.tenant = "b";
  EXPECT_TRUE(pipeline_->submit(asked, second.sink()));
}

}  // namespace
}  // namespace gale
