#include <gtest/gtest.h>

#include <limits>

#include "api/answer.h"
#include "api/answer_parts.h"
#include "api/errors.h"
#include "api/openai_chat.h"
#include "api/openai_completions.h"
#include "api/openai_embeddings.h"

namespace gale {
namespace {

constexpr ApiContext kContext{.limits = {}, .vocab_size = 100};

Json json_of(std::string_view text) { return parse_json(text).value(); }

std::string chat_body(const std::string& more) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (more.empty() ? "" : "," + more) + "}";
}

Result<ChatRequest> parse_chat(const std::string& more) {
  return parse_chat_request(json_of(chat_body(more)), kContext);
}

TEST(ChatRequest, reads_every_generation_field) {
  const auto request =
      parse_chat(R"("temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"seed":7,"n":2,"max_completion_tokens":9,
      "max_tokens":5,"stop":["a","b"],"stop_token_ids":[3],"logit_bias":{"5":200},"frequency_penalty":1,
      "presence_penalty":-1,"repetition_penalty":1.1,"logprobs":true,"top_logprobs":4,"stream":true,
      "stream_options":{"include_usage":true},"min_tokens":1,"ignore_eos":true,"include_stop_str_in_output":true,
     "cache_salt":"s",
      "model":"m","unknown_field":1)");
  ASSERT_TRUE(request) << request.error().message;
  const GenerateRequest& generate = request->generate;
  EXPECT_FLOAT_EQ(*generate.sampling.temperature, 0.5F);
  EXPECT_EQ(generate.sampling.top_k, 0);
  EXPECT_EQ(generate.sampling.seed, 7u);
  EXPECT_EQ(generate.max_tokens, 9);   // the new name wins
  EXPECT_EQ(generate.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(generate.logit_bias, (std::vector<std::pair<TokenId, float>>{{5, 100.0F}}));
  EXPECT_EQ(generate.num_logprobs, 4);
  EXPECT_EQ(generate.n, 2);
  EXPECT_TRUE(generate.parse_output && generate.rules.calls == CallRule::kNone && generate.ignore_eos);
  EXPECT_TRUE(request->answer.is_stream && request->answer.include_usage);
  EXPECT_EQ(request->answer.model, "m");
}

struct BadField { const char* more; const char* param; };

TEST(ChatRequest, names_the_field_that_is_wrong) {
  const BadField cases[] = {
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":"x")", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("n":0)", "n"},
      {R"("n":129)", "n"},
      {R"("n":1.5)", "n"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":3,"min_tokens":4)", "min_tokens"},
      {R"("stop":"")", "stop"},
      {R"("stop":[1])", "stop"},
      {R"("stop_token_ids":[100])", "stop_token_ids"},
      {R"("stop_token_ids":[-1])", "stop_token_ids"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("logit_bias":{"100":1})", "logit_bias"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("stream_options":{})", "stream_options"},
      {R"("stream":"yes")", "stream"},
      {R"("seed":1.5)", "seed"},
      {R"("response_format":{"type":"xml"})", "response_format.type"},
      {R"("guided_json":5)", "guided_json"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":7)", "tool_choice"},
      {R"("tools":{})", "tools"},
      {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name"},
      {R"("allowed_token_ids":[])", "allowed_token_ids"},
      {R"("cache_salt":"")", "cache_salt"},
      {R"("chat_template":"x")", "chat_template"},
      {R"("use_beam_search":true)", "use_beam_search"},
      {R"("reasoning_effort":"much")", "reasoning_effort"},
      {R"("chat_template_kwargs":3)", "chat_template_kwargs"},
      {R"("continue_final_message":true,"add_generation_prompt":true)", "continue_final_message"},
  };
  for (const BadField& bad : cases) {
    const auto request = parse_chat(bad.more);
    ASSERT_FALSE(request) << bad.more;
    EXPECT_EQ(request.error().param, bad.param) << request.error().message;
    EXPECT_EQ(wire_error(request.error()).status, 400);
  }
}

TEST(ChatRequest, names_the_message_that_is_wrong) {
  const BadField cases[] = {
      {R"({})", "messages"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":[1]})", "messages[0]"},
      {R"({"messages":[{"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"king"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":[{}]}]})", "messages[0].content[0]"},
  };
  for (const BadField& bad : cases) {
    const auto request = parse_chat_request(json_of(bad.more), kContext);
    ASSERT_FALSE(request) << bad.more;
    EXPECT_EQ(request.error().param, bad.param) << request.error().message;
  }
  EXPECT_FALSE(parse_chat_request(json_of("[1]"), kContext));
}

TEST(ChatRequest, hides_tools_from_the_model_when_tool_choice_is_none) {
  const auto request = parse_chat(R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none")");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->generate.rules.calls, CallRule::kNone);
  EXPECT_TRUE(std::get<ChatInput>(request->generate.prompt).tools.is_null());
}

TEST(CompletionRequest, takes_text_ids_and_lists_of_either) {
  const std::pair<const char*, size_t> cases[] = {{R"("a")", 1}, {"[1,2]", 1}, {R"(["a","b"])", 2}, {"[[1],[2,3]]", 2}};
  for (const auto& [prompt, count] : cases) {
    const auto request =
        parse_completion_request(json_of(fmt::format(R"({{"prompt":{},"echo":true,"logprobs":2}})", prompt)), kContext);
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_EQ(request->generate.size(), count);
    EXPECT_EQ(request->generate[0].max_tokens, 16);
    EXPECT_EQ(request->generate[0].num_prompt_logprobs, 2);
  }
  for (const char* bad : {R"({})", R"({"prompt":[]})", R"({"prompt":""})", R"({"prompt":[1,"a"]})",
                          R"({"prompt":[[]]})", R"({"prompt":[100]})", R"({"prompt":{}})"})
    EXPECT_EQ(parse_completion_request(json_of(bad), kContext).error().param, "prompt") << bad;
}

AnswerInfo info() {
  return {.id = "chatcmpl-1", .model = "m", .created = 5, .options = {.include_usage = true},
          .token_text = [](TokenId token) { return std::string(1, static_cast<char>('a' + token)); }};
}

std::vector<Event> conversation() {
  const Usage usage{.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 1, .reasoning_tokens = 1};
  return {
      Started{{1, 2, 3}}, Delta{.parts = {ReasoningDelta{"hm"}}, .usage = usage},
      Delta{.parts = {ContentDelta{"say \"é\"\n"}, ToolCallStart{0, "call_1", "f"}, ToolArgumentsDelta{0, "{\"a\":1}"}},
            .usage = usage},
      Finished{.reason = ChoiceFinish::kToolCalls}, Completed{usage}};
}

TEST(Embeddings, take_what_completions_take_and_name_what_is_wrong) {
  ApiContext context = kContext;
  context.hidden_size = 8;
  context.pooling = Pooling::kMean;
  const Result<EmbeddingRequest> request =
      parse_embedding_request(json_of(R"({"input":["a",[1,2]],"dimensions":8})"), context);
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->generate.pooling->pooling, Pooling::kMean);
  EXPECT_EQ(request->generate.pooling->inputs.size(), 2U);
  const std::vector<std::pair<const char*, const char*>> wrong = {
      {R"({"input":"a","dimensions":9})", "dimensions"},
      {R"({"input":[100]})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":"a","encoding_format":"hex"})", "encoding_format"}};
  for (const auto& [body, param] : wrong)
    EXPECT_EQ(parse_embedding_request(json_of(body), context).error().param, param) << body;
}

TEST(Embeddings, are_written_in_the_order_of_the_inputs_at_length_one) {
  AnswerInfo info{.id = "embd-1", .model = "m"};
  const auto writer = make_embedding_answer(info, {.dimensions = 2});
  EXPECT_EQ(writer->add(0, Pooled{1, {0.0F, 0.0F, 5.0F}}), "");
  EXPECT_EQ(writer->add(0, Pooled{0, {3.0F, 4.0F, 9.0F}}), "");
  EXPECT_FALSE(writer->is_done());
  EXPECT_EQ(writer->add(0, Completed{{.prompt_tokens = 7, .cached_tokens = 2}}), "");
  ASSERT_TRUE(writer->is_done());
  const Json answer = json_of(writer->body());
  EXPECT_EQ(answer["object"], "list");
  EXPECT_EQ(answer["usage"]["total_tokens"], 7);
  EXPECT_EQ(answer["data"][0]["index"], 0);
  EXPECT_FLOAT_EQ(answer["data"][0]["embedding"][0].get<float>(), 0.6F);
  EXPECT_FLOAT_EQ(answer["data"][0]["embedding"][1].get<float>(), 0.8F);
  EXPECT_EQ(answer["data"][1]["embedding"], Json::array({0.0, 0.0})) << "no direction, and no division by zero";
  const auto packed = make_embedding_answer(info, {.is_base64 = true});
  (void)packed->add(0, Pooled{0, {1.0F}});
  EXPECT_EQ(json_of(packed->body())["data"][0]["embedding"], "AACAPw==");
}

TEST(ChatStream, speaks_the_chunks_clients_expect) {
  const auto writer = make_chat_stream(info());
  std::string frames;
  for (const Event& event : conversation()) frames += writer->add(0, event);
  EXPECT_TRUE(writer->is_done());
  const std::string head =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,)"
      R"("model":"m","system_fingerprint":"gale","choices":[)";
  const auto chunk = [&](const std::string& delta) {
    return head + R"({"index":0,"delta":)" + delta + R"(,"logprobs":null,"finish_reason":null}],"usage":null})" +
           "\n\n";
  };
  EXPECT_EQ(frames.find(chunk(R"({"role":"assistant","content":""})")), 0u);
  EXPECT_NE(frames.find(chunk(R"({"reasoning_content":"hm"})")), std::string::npos);
  EXPECT_NE(frames.find(chunk(R"({"content":"say \"é\"\n"})")), std::string::npos);
  EXPECT_NE(frames.find(chunk(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]})")),
            std::string::npos);
  EXPECT_NE(frames.find(R"("finish_reason":"tool_calls","stop_reason":null}],"usage":null})"), std::string::npos);
  EXPECT_NE(frames.find(R"("choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,)"),
            std::string::npos);
  EXPECT_TRUE(frames.ends_with("data: [DONE]\n\n"));
}

TEST(ChatStream, writes_text_alone_as_it_writes_text_among_other_things) {
  const std::pair<std::string, std::string> cases[] = {
      {"a \"b\" \\ \n\t\x01 \xC3\xA9 \xE4\xB8\xAD", ""}, {"", ""}, {"half \xE4", "half \xEF\xBF\xBD"}};
  for (const auto& [text, shown] : cases) {
    const auto said = [](AnswerWriter& writer, const Delta& delta) {
      const std::string frame = writer.add(0, delta);
      EXPECT_TRUE(frame.starts_with("data: ") && frame.ends_with("\n\n"));
      return json_of(frame.substr(6));
    };
    const Json alone = said(*make_chat_stream(info()), {.parts = {ContentDelta{text}}});
    Json among = said(*make_chat_stream(info()), {.parts = {ContentDelta{text}}, .logprobs = {TokenLogprobs{}}});
    among["choices"][0]["logprobs"] = nullptr;
    EXPECT_EQ(dump_json(alone), dump_json(among));
    const std::string expected = shown.empty() ? text : shown;
    EXPECT_EQ(alone["choices"][0]["delta"]["content"], expected);
    const Json completion = said(*make_completion_stream(info()), {.text = text + "."});
    EXPECT_EQ(completion["choices"][0]["text"], expected + ".");
  }
}

TEST(ChatStream, ends_with_done_after_an_error_too) {
  const auto writer = make_chat_stream(info());
  (void)writer->add(0, Started{{1}});
  const std::string frames = writer->add(0, Failed{Error{ErrorCode::kInternal, "secret /path"}, {}});
  EXPECT_EQ(frames.find("secret"), std::string::npos);
  EXPECT_TRUE(frames.ends_with("data: [DONE]\n\n"));
  EXPECT_TRUE(writer->is_done() && writer->failure());
}

TEST(ChatAnswer, gathers_what_a_stream_would_say) {
  const auto writer = make_chat_answer(info());
  for (const Event& event : conversation()) EXPECT_EQ(writer->add(0, event), "");
  const Json body = json_of(writer->body());
  const Json& message = body["choices"][0]["message"];
  EXPECT_EQ(message["content"], "say \"é\"\n");
  EXPECT_EQ(message["reasoning_content"], "hm");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
  EXPECT_EQ(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);
}

TEST(ChatAnswer, hides_reasoning_with_its_tokens) {
  AnswerInfo hidden = info();
  hidden.include_reasoning = false;
  hidden.options.return_token_ids = true;
  const auto writer = make_chat_answer(hidden);
  (void)writer->add(0, Delta{.parts = {ReasoningDelta{"hm"}}, .tokens = {1}});
  (void)writer->add(0, Delta{.parts = {ContentDelta{"x"}}, .tokens = {2}});
  (void)writer->add(0, Completed{});
  const Json choice = json_of(writer->body())["choices"][0];
  EXPECT_FALSE(choice["message"].contains("reasoning_content"));
  EXPECT_EQ(choice["token_ids"], Json::array({2}));
}

TEST(CompletionAnswer, echoes_with_logprobs_and_offsets) {
  AnswerInfo echo = info();
  echo.echo = true;
  const auto writer = make_completion_answer(echo);
  (void)writer->add(0, Started{{0, 1}});
  (void)writer->add(0, PromptLogprobs{{TokenLogprobs{{1, -0.5F, 1}, {}}}});
  (void)writer->add(0, Delta{.text = "c", .tokens = {2}, .logprobs = {TokenLogprobs{{2, -1.0F, 1}, {{2, -1.0F, 1}}}}});
  (void)writer->add(0, Finished{.reason = ChoiceFinish::kLength});
  (void)writer->add(0, Completed{});
  const Json choice = json_of(writer->body())["choices"][0];
  EXPECT_EQ(choice["text"], "abc");
  EXPECT_EQ(choice["logprobs"]["tokens"], Json::array({"a", "b", "c"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], Json::array({nullptr, -0.5, -1.0}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], Json::array({0, 1, 2}));
}

TEST(CompletionAnswer, echoes_a_prompt_of_one_token_with_its_place) {
  AnswerInfo echo = info();
  echo.echo = true;
  const auto writer = make_completion_answer(echo);
  (void)writer->add(0, Started{{0}});
  (void)writer->add(0, PromptLogprobs{});   // nothing comes before the first token
  (void)writer->add(0, Delta{.text = "c", .tokens = {2}, .logprobs = {TokenLogprobs{{2, -1.0F, 1}, {{2, -1.0F, 1}}}}});
  (void)writer->add(0, Finished{.reason = ChoiceFinish::kLength});
  (void)writer->add(0, Completed{});
  const Json choice = json_of(writer->body())["choices"][0];
  EXPECT_EQ(choice["text"], "ac");
  EXPECT_EQ(choice["logprobs"]["tokens"], Json::array({"a", "c"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], Json::array({nullptr, -1.0}));
  EXPECT_EQ(choice["logprobs"]["text_offset"], Json::array({0, 1}));
}

TEST(CompletionAnswer, tells_the_token_that_was_taken_among_the_most_likely) {
  const auto writer = make_completion_answer(info());
  (void)writer->add(0, Started{{0}});
  const std::vector<TokenLogprobs> logprobs{{{1, -2.0F, 5}, {}}, {{2, -1.0F, 2}, {{0, -0.5F, 1}}}};
  (void)writer->add(0, Delta{.text = "bc", .tokens = {1, 2}, .logprobs = logprobs});
  (void)writer->add(0, Finished{.reason = ChoiceFinish::kLength});
  (void)writer->add(0, Completed{});
  const Json top = json_of(writer->body())["choices"][0]["logprobs"]["top_logprobs"];
  EXPECT_EQ(top, Json::array({Json{{"b", -2.0}}, Json{{"a", -0.5}, {"c", -1.0}}}));
}

TEST(CompletionAnswer, writes_impossible_as_the_least_logprob) {
  constexpr float kImpossible = -std::numeric_limits<float>::infinity();
  AnswerInfo echo = info();
  echo.echo = true;
  const auto writer = make_completion_answer(echo);
  (void)writer->add(0, Started{{0, 1}});
  (void)writer->add(0, PromptLogprobs{{TokenLogprobs{{1, kImpossible, 3}, {{2, -0.5F, 1}, {1, kImpossible, 3}}}}});
  (void)writer->add(0, Finished{.reason = ChoiceFinish::kLength});
  (void)writer->add(0, Completed{});
  const Json logprobs = json_of(writer->body())["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["token_logprobs"], Json::array({nullptr, -9999.0}));
  EXPECT_EQ(logprobs["top_logprobs"][1], (Json{{"c", -0.5}, {"b", -9999.0}}));
  const Json chat = chat_logprobs_json(echo, std::vector{TokenLogprobs{{1, kImpossible, 1}, {}}});
  EXPECT_EQ(chat["content"][0]["logprob"], -9999.0);
}

TEST(WholeAnswer, tells_prompt_logprobs_where_vllm_does) {
  AnswerInfo asked = info();
  asked.options.tells_prompt_logprobs = true;
  const Json expected = Json::array(
      {nullptr,
       {{"1", {{"logprob", -1.0}, {"rank", 3}, {"decoded_token", "b"}}},
        {"2", {{"logprob", -0.5}, {"rank", 1}, {"decoded_token", "c"}}}}});
  const auto answered = [](const std::unique_ptr<AnswerWriter>& writer) {
    (void)writer->add(0, Started{{0, 1}});
    (void)writer->add(0, PromptLogprobs{{TokenLogprobs{{1, -1.0F, 3}, {{2, -0.5F, 1}}}}});
    (void)writer->add(0, Finished{.reason = ChoiceFinish::kLength});
    (void)writer->add(0, Completed{});
    return json_of(writer->body());
  };
  EXPECT_EQ(answered(make_chat_answer(asked))["prompt_logprobs"], expected);
  const Json completion = answered(make_completion_answer(asked));
  EXPECT_EQ(completion["choices"][0]["prompt_logprobs"], expected);
  EXPECT_EQ(completion["choices"][0]["logprobs"], nullptr);
}

TEST(CompletionStream, numbers_choices_over_all_prompts) {
  AnswerInfo two = info();
  two.num_requests = 2;
  two.num_choices = 2;
  const auto writer = make_completion_stream(two);
  (void)writer->add(1, Started{{0}});
  EXPECT_NE(writer->add(1, Delta{.choice = 1, .text = "x"}).find(R"("index":3,"text":"x")"), std::string::npos);
  EXPECT_EQ(writer->add(0, Completed{}), "");
  EXPECT_FALSE(writer->is_done());
  EXPECT_TRUE(writer->add(1, Completed{}).ends_with("data: [DONE]\n\n"));
}

TEST(Errors, map_to_status_type_and_code) {
  const std::pair<ErrorCode, int> statuses[] = {
      {ErrorCode::kInvalidArgument, 400},  {ErrorCode::kContextLength, 400}, {ErrorCode::kUnauthorized, 401},
      {ErrorCode::kForbidden, 403},        {ErrorCode::kNotFound, 404},      {ErrorCode::kTooLarge, 413},
      {ErrorCode::kUnsupportedMedia, 415}, {ErrorCode::kOverloaded, 429},    {ErrorCode::kUnimplemented, 501},
      {ErrorCode::kUnavailable, 503},      {ErrorCode::kDeadline, 504},      {ErrorCode::kInternal, 500}};
  for (const auto& [code, status] : statuses) EXPECT_EQ(wire_error(Error{code, "x"}).status, status);
  const Json body = json_of(error_body(Error{ErrorCode::kContextLength, "too long", "messages"}));
  EXPECT_EQ(
      dump_json(body),
      R"({"error":{"message":"too long","type":"invalid_request_error",)"
      R"("param":"messages","code":"context_length_exceeded"}})");
  EXPECT_EQ(error_body(Error{ErrorCode::kInternal, "secret path"}).find("secret"), std::string::npos);
  const Json blamed = json_of(error_body(Error{ErrorCode::kInternal, "the logits hold a NaN", "model"}));
  EXPECT_EQ(blamed["error"]["message"], "the logits hold a NaN")
      << "an error that blames what the client named is for the client";
}

}  // namespace
}  // namespace gale
