#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serving/pipeline_testing.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

// The engine says this text, one token a character, and then the end of text.
std::function<TokenId(const Submit&, size_t)> says(std::vector<TokenId> tokens) {
  return [tokens = std::move(tokens)](const Submit&, size_t position) {
    return position < tokens.size() ? tokens[position] : 8128;
  };
}

std::vector<TokenId> letters(const std::string& text) {
  const auto tokenizer = load_tokenizer();
  std::vector<TokenId> tokens;
  for (const char letter : text) tokens.push_back(tokenizer->encode(std::string(1, letter), AddedTokens::kPlain).at(0));
  return tokens;
}

Json user_says(const std::string& text) { return Json::array({{{"role", "user"}, {"content", text}}}); }

TEST_F(PipelineTest, text_is_what_the_tokens_say) {
  start_and_wait();
  Client client;
  run(request(40), client);
  const ChoiceRecord choice = client.choices()[0];
  ASSERT_EQ(choice.tokens.size(), 40U);
  EXPECT_EQ(choice.text, load_tokenizer()->decode(choice.tokens, true));
  EXPECT_EQ(choice.finished->reason, ChoiceFinish::kLength);
  EXPECT_EQ(client.prompt(), (std::vector<TokenId>{1, 2, 3, 4, 5}));
  EXPECT_EQ(client.usage()->prompt_tokens, 5);
  EXPECT_EQ(client.usage()->completion_tokens, 40);
}

TEST_F(PipelineTest, a_list_of_inputs_longer_than_the_queue_is_pooled_and_a_cancelled_one_leaves_nothing) {
  engine_.life = [](int) { return FakeLife{.step_time = milliseconds(1)}; };
  start_and_wait();
  GenerateRequest asked = request(1);
  asked.pooling = PoolingRequest{Pooling::kLast, std::vector<PromptInput>(500, TokenPrompt{{7, 8}})};
  {
    Client client;
    run(asked, client);
    EXPECT_EQ(client.pooled().size(), 500U);
    EXPECT_EQ(client.prompt().size(), 1000U);
  }
  {
    Client gone;
    auto handle = submit(asked, gone);
    EXPECT_TRUE(wait_until([&] { return !gone.pooled().empty(); }));
    handle.reset();
  }
  EXPECT_TRUE(wait_until([this] { return record().num_live == 0; }));
  asked.pooling->inputs = {TokenPrompt{std::vector<TokenId>(600, 1)}};
  Client refused;
  run(asked, refused);
  ASSERT_TRUE(refused.failed());
  EXPECT_EQ(refused.failed()->error.code, ErrorCode::kContextLength);
  EXPECT_EQ(refused.failed()->error.param, "input");
}

TEST_F(PipelineTest, defaults_of_model_and_request_reach_the_engine) {
  start_and_wait();
  Client client;
  GenerateRequest asked = request(3);
  asked.sampling.top_k = 7;
  asked.stop_token_ids = {9};
  run(std::move(asked), client);
  const Submit submit = record().submits.at(0);
  EXPECT_FLOAT_EQ(submit.sampling.temperature, 0.3F);
  EXPECT_EQ(submit.sampling.top_k, 7);
  EXPECT_EQ(submit.sampling.seed, 11U);
  EXPECT_EQ(submit.stop.stop_token_ids, (std::vector<TokenId>{9, 8128}));
}

TEST_F(PipelineTest, each_choice_has_its_own_seed_and_the_first_the_requests) {
  start_and_wait();
  Client alone, three;
  run(request(10), alone);
  GenerateRequest asked = request(10);
  asked.n = 3;
  run(std::move(asked), three);
  auto choices = three.choices();
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_EQ(choices[0].tokens, alone.choices()[0].tokens);
  EXPECT_NE(choices[1].tokens, choices[0].tokens);
  EXPECT_NE(choices[2].tokens, choices[1].tokens);
  EXPECT_EQ(three.usage()->prompt_tokens, 5);
  EXPECT_EQ(three.usage()->completion_tokens, 30);
}

TEST_F(PipelineTest, requests_without_seed_get_different_ones) {
  start_and_wait();
  Client first, second;
  GenerateRequest asked = request(2);
  asked.sampling.seed.reset();
  run(asked, first);
  run(asked, second);
  EXPECT_NE(record().submits.at(0).sampling.seed, record().submits.at(1).sampling.seed);
}

TEST_F(PipelineTest, a_stop_string_cuts_the_text_and_ends_the_sequence_in_the_engine) {
  engine_.token = says(letters("one two three four five six seven eight nine ten"));
  engine_.may_step = [](int num_tokens) { return num_tokens < 20; };   // it does not end before it is cancelled
  start_and_wait();
  Client client;
  GenerateRequest asked = request(400);
  asked.stop = {"three"};
  run(std::move(asked), client);
  const ChoiceRecord choice = client.choices()[0];
  EXPECT_EQ(choice.text, "one two ");
  EXPECT_EQ(std::get<std::string>(choice.finished->stop_reason), "three");
  EXPECT_EQ(client.usage()->completion_tokens, 13);   // those of the stop string count, none behind it
  EXPECT_TRUE(wait_until([this] { return record().cancels.size() == 1 && record().num_live == 0; }));
}

TEST_F(PipelineTest, chat_is_split_into_reasoning_and_content) {
  std::vector<TokenId> tokens = letters("I think");
  tokens.push_back(*load_tokenizer()->find_added_token("</think>"));
  for (const TokenId token : letters("Port 8000.")) tokens.push_back(token);
  engine_.token = says(tokens);
  start_and_wait();
  Client client;
  GenerateRequest asked{.prompt = ChatInput{.messages = user_says("Which port?")}, .parse_output = true};
  run(std::move(asked), client);
  const ChoiceRecord choice = client.choices()[0];
  EXPECT_EQ(choice.reasoning, "I think");
  EXPECT_EQ(choice.content, "Port 8000.");
  EXPECT_EQ(choice.finished->reason, ChoiceFinish::kStop);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(choice.finished->stop_reason));
  EXPECT_GE(client.usage()->reasoning_tokens, 7);
  EXPECT_EQ(client.usage()->completion_tokens, 19);   // with the end of text
}

TEST_F(PipelineTest, control_tokens_typed_in_chat_are_text_and_in_raw_prompts_tokens) {
  start_and_wait();
  const auto tokenizer = load_tokenizer();
  const TokenId user = *tokenizer->find_added_token("<|user|>");
  const auto chat = pipeline_->tokenize(ChatInput{.messages = user_says("<|user|>")});
  EXPECT_EQ(std::count(chat->begin(), chat->end(), user), 1);   // the template's own
  EXPECT_EQ(*pipeline_->tokenize(TextPrompt{"<|user|>"}), std::vector<TokenId>{user});
  EXPECT_EQ(*pipeline_->detokenize(std::vector<TokenId>{user}), "<|user|>");
}

TEST_F(PipelineTest, prompt_logprobs_come_once_before_everything_else) {
  start_and_wait();
  Client client;
  GenerateRequest asked = request(4);
  asked.n = 3;
  asked.num_prompt_logprobs = 0;
  asked.num_logprobs = 0;
  run(std::move(asked), client);
  EXPECT_EQ(client.num_prompt_logprobs(), 4U);
  for (const auto& [index, choice] : client.choices()) {
    EXPECT_EQ(choice.tokens.size(), 4U);
    EXPECT_EQ(choice.num_logprobs, 4U);
  }
}

TEST_F(PipelineTest, prompts_that_cannot_be_served_are_refused_in_words) {
  start_and_wait();
  const auto refusal_of = [this](GenerateRequest asked) {
    Client client;
    run(std::move(asked), client);
    return client.failed().value_or(Failed{}).error;
  };
  const auto with_prompt = [](PromptInput prompt, std::optional<int> max_tokens = {}) {
    return GenerateRequest{.prompt = std::move(prompt), .max_tokens = max_tokens};
  };
  const Error too_long = refusal_of(with_prompt(TokenPrompt{std::vector<TokenId>(600, 1)}));
  EXPECT_EQ(too_long.code, ErrorCode::kContextLength);
  EXPECT_THAT(too_long.message, AllOf(HasSubstr("600"), HasSubstr("512")));
  const Error too_much = refusal_of(with_prompt(TokenPrompt{std::vector<TokenId>(100, 1)}, 413));
  EXPECT_EQ(too_much.code, ErrorCode::kContextLength);
  EXPECT_THAT(too_much.message, AllOf(HasSubstr("100"), HasSubstr("413"), HasSubstr("512")));
  EXPECT_EQ(refusal_of(with_prompt(TokenPrompt{{1, 8192}})).param, "prompt");
  EXPECT_EQ(refusal_of(with_prompt(TokenPrompt{{-1}})).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal_of(with_prompt(TextPrompt{""})).code, ErrorCode::kInvalidArgument);
  GenerateRequest biased = request(2);
  biased.logit_bias = {{9000, 1.0F}};
  EXPECT_EQ(refusal_of(biased).param, "logit_bias");
  EXPECT_EQ(pipeline_->status().num_live_requests, 0);
}

TEST_F(PipelineTest, without_max_tokens_the_default_or_the_room_left_applies) {
  config_.default_max_tokens = 30;
  start_and_wait();
  Client by_default, by_room;
  GenerateRequest asked = request(1);
  asked.max_tokens.reset();
  run(asked, by_default);
  asked.prompt = TokenPrompt{std::vector<TokenId>(500, 1)};
  run(asked, by_room);
  EXPECT_EQ(record().submits.at(0).stop.max_tokens, 30);
  EXPECT_EQ(record().submits.at(1).stop.max_tokens, 12);
}

TEST_F(PipelineTest, destroying_the_handle_frees_the_sequence_and_silences_the_sink) {
  engine_.life = [](int) { return FakeLife{.step_time = milliseconds(1)}; };
  start_and_wait();
  for (int round = 0; round < 20; ++round) {
    Client client;
    auto handle = submit(request(500), client);
    client.wait_for_tokens(static_cast<size_t>(round % 5));
    handle.reset();
    const size_t num_events = client.num_events();
    std::this_thread::sleep_for(milliseconds(3));
    EXPECT_EQ(client.num_events(), num_events);
  }
  EXPECT_TRUE(wait_until([this] { return record().num_live == 0; }));
  EXPECT_EQ(pipeline_->status().num_live_requests, 0);
}

TEST_F(PipelineTest, what_exceeds_the_queue_is_refused_and_told_when_to_return) {
  engine_.max_num_seqs = 2;
  std::atomic<bool> may_go_on = false;
  engine_.may_step = [&](int) { return may_go_on.load(); };
  config_.admission.max_waiting = 3;
  start_and_wait();
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<RequestHandle>> handles;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<Client>());
    handles.push_back(submit(request(8), *clients.back()));
  }
  Client refused;
  const auto sixth = pipeline_->submit(request(8), refused.sink());
  ASSERT_FALSE(sixth.has_value());
  EXPECT_EQ(sixth.error().code, ErrorCode::kOverloaded);
  EXPECT_THAT(pipeline_->retry_after_s(), AllOf(testing::Ge(1), testing::Le(30)));
  may_go_on = true;
  for (const auto& client : clients) client->wait();
  run(request(8), refused);
  EXPECT_EQ(refused.choices()[0].tokens.size(), 8U);
}

TEST_F(PipelineTest, while_draining_live_requests_end_and_new_ones_are_refused) {
  engine_.life = [](int) { return FakeLife{.step_time = milliseconds(2)}; };
  start_and_wait();
  Client live, late;
  const auto handle = submit(request(30), live);
  live.wait_for_tokens(1);
  pipeline_->begin_drain();
  EXPECT_EQ(pipeline_->submit(request(3), late.sink()).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(health(), Health::kDraining);
  EXPECT_TRUE(pipeline_->shutdown(kLongEnough));
  EXPECT_EQ(live.choices()[0].tokens.size(), 30U);
}

TEST_F(PipelineTest, at_the_deadline_of_a_shutdown_what_lives_is_failed) {
  engine_.may_step = [](int num_tokens) { return num_tokens < 1; };
  start_and_wait();
  Client live;
  const auto handle = submit(request(500), live);
  live.wait_for_tokens(1);
  EXPECT_FALSE(pipeline_->shutdown(milliseconds(30)));
  ASSERT_TRUE(live.failed().has_value());
  EXPECT_EQ(live.failed()->error.code, ErrorCode::kUnavailable);
}

TEST_F(PipelineTest, handles_may_outlive_the_pipeline) {
  engine_.may_step = [](int num_tokens) { return num_tokens < 1; };
  start_and_wait();
  Client client;
  auto handle = submit(request(500), client);
  pipeline_.reset();
  EXPECT_TRUE(client.failed().has_value());
  handle.reset();
}

TEST_F(PipelineTest, many_requests_at_once_each_get_their_own_tokens) {
  engine_.max_num_seqs = 64;
  engine_.life = [](int) { return FakeLife{.tokens_per_step = 3}; };
  start_and_wait();
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<RequestHandle>> handles;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<Client>());
    GenerateRequest asked = request(20 + i % 7);
    asked.sampling.seed = static_cast<uint64_t>(i);
    handles.push_back(submit(std::move(asked), *clients.back()));
  }
  for (int i = 0; i < 100; ++i) {
    clients[static_cast<size_t>(i)]->wait();
    std::vector<TokenId> expected;
    const Submit submit{.prompt = {1, 2, 3, 4, 5}, .sampling = {.seed = static_cast<uint64_t>(i)}};
    for (size_t k = 0; k < static_cast<size_t>(20 + i % 7); ++k) expected.push_back(engine_.token(submit, k));
    EXPECT_EQ(clients[static_cast<size_t>(i)]->choices()[0].tokens, expected);
  }
}

}  // namespace
}  // namespace gale
