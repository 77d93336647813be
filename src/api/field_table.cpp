#include "api/field_table.h"

namespace gale {
namespace {

constexpr std::string_view kString = R"({"type":["string","null"]})";
constexpr std::string_view kBoolean = R"({"type":["boolean","null"]})";
constexpr std::string_view kCount = R"({"type":["integer","null"],"minimum":1})";
constexpr std::string_view kAny = "{}";
constexpr std::string_view kObject = R"({"type":["object","null"]})";
constexpr std::string_view kIgnored = "Accepted, changes nothing here.";
constexpr std::string_view kStop =
    R"({"oneOf":[{"type":"string","minLength":1},)"
    R"({"type":"array","items":{"type":"string","minLength":1}},{"type":"null"}]})";

constexpr FieldDoc kSampling[] = {
    {"model", kString, "A name of /v1/models; absent: the model that is served."},
    {"temperature", R"({"type":["number","null"],"minimum":0,"maximum":2})",
     "0: always the likeliest token. Absent: the model's own."},
    {"top_p", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":1})",
     "The likeliest tokens that together have this probability."},
    {"top_k", R"({"type":["integer","null"],"minimum":-1})", "The k likeliest tokens; 0 and -1: all."},
    {"min_p", R"({"type":["number","null"],"minimum":0,"maximum":1})",
     "Tokens at least this likely, relative to the likeliest."},
    {"repetition_penalty", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":100})",
     "Over prompt and output; 1: none."},
    {"frequency_penalty", R"({"type":["number","null"],"minimum":-2,"maximum":2})", "For each time a token was said."},
    {"presence_penalty", R"({"type":["number","null"],"minimum":-2,"maximum":2})", "For tokens that were said."},
    {"seed", R"({"type":["integer","null"]})", "Equal seeds give equal answers; -1 or absent: a random one."},
    {"n", kCount, "Choices; bounded by --max-choices."},
    {"max_tokens", kCount, "Tokens of each choice. Absent: what is left of the context."},
    {"min_tokens", R"({"type":["integer","null"],"minimum":0})", "The model may not end before."},
    {"stop", kStop, "The answer ends before any of these."},
    {"stop_token_ids", R"({"type":["array","null"],"items":{"type":"integer","minimum":0}})",
     "The answer ends with any of these."},
    {"include_stop_str_in_output", kBoolean},
    {"ignore_eos", kBoolean, "Go on to max_tokens."},
    {"skip_special_tokens", kBoolean},
    {"logit_bias", R"({"type":["object","null"],"additionalProperties":{"type":"number"}})",
     "By token id; clamped to 100 either way."},
    {"allowed_token_ids", R"({"type":["array","null"],"items":{"type":"integer","minimum":0},"minItems":1})",
     "No other token is drawn."},
    {"bad_words", kStop, "Words that must not come in the answer: at most 128, of 1,024 tokens in all."},
    {"prompt_logprobs", R"({"type":["integer","null"],"minimum":0})",
     "Tell the logprobs of the prompt, too, with so many of the likeliest tokens; not with stream."},
    {"priority", R"({"type":["integer","null"]})", "Lower runs first."},
    {"cache_salt", R"({"type":["string","null"],"minLength":1})", "Cached prefixes are shared only under equal salt."},
    {"stream", kBoolean, "Server-sent events instead of one answer."},
    {"stream_options",
     R"({"type":["object","null"],"properties":{"include_usage":{"type":["boolean","null"]},)"
     R"("continuous_usage_stats":{"type":["boolean","null"]}}})",
     "Only with stream."},
    {"return_token_ids", kBoolean, "Tell the ids of prompt and answer, too."},
    {"return_tokens_as_token_ids", kBoolean, "Tokens of logprobs are told by their ids."},
    {"truncate_prompt_tokens", R"({"type":["integer","null"],"minimum":-1,"not":{"const":0}})",
     "Keep so many tokens of the prompt; -1: what fits."},
    {"truncation_side", R"({"enum":["left","right",null]})", "Which end is cut off."},
    {"user", kAny, kIgnored},
    {"metadata", kAny, kIgnored},
    {"store", kAny, kIgnored},
    {"service_tier", kAny, kIgnored},
    {"session_id", kAny, kIgnored},
    {"request_id", kAny, kIgnored},
};

constexpr FieldDoc kChatInput[] = {
    {"messages", R"({"type":"array","minItems":1,"items":{"type":"object","required":["role"],"properties":{
        "role":{"enum":["system","developer","user","assistant","tool","function"]},
        "content":{"oneOf":[{"type":"string"},{"type":"null"},{"type":"array"}]}}}})",
     "The conversation."},
    {"tools", R"({"type":["array","null"],"items":{"type":"object"}})", "Functions that the model may call."},
    {"chat_template_kwargs", kObject, "Variables of the template: {\"enable_thinking\": false} turns thinking off."},
    {"reasoning_effort", R"({"enum":["none","minimal","low","medium","high","xhigh","max",null]})",
     "none and minimal turn thinking off."},
    {"continue_final_message", kBoolean, "The answer goes on inside the last message."},
    {"add_generation_prompt", kBoolean},
};

constexpr FieldDoc kChat[] = {
    {"max_completion_tokens", kCount, "The newer name of max_tokens; it counts before that."},
    {"tool_choice", R"({"oneOf":[{"enum":["auto","none","required"]},{"type":"object"},{"type":"null"}]})"},
    {"parallel_tool_calls", kBoolean},
    {"response_format", kObject, "text, json_object, json_schema, structural_tag."},
    {"logprobs", kBoolean},
    {"top_logprobs", R"({"type":["integer","null"],"minimum":0})", "Only with logprobs; bounded by --max-logprobs."},
    {"include_reasoning", kBoolean, "false: thinking is left out of the answer."},
};

constexpr FieldDoc kCompletion[] = {
    {"prompt", R"({"oneOf":[{"type":"string"},{"type":"array"}]})", "A text, token ids, or a list of either."},
    {"echo", kBoolean, "The prompt comes first in the answer."},
    {"max_tokens", R"({"type":["integer","null"],"minimum":0})",
     "Tokens of each choice. Absent: 16. 0 is for echo: the prompt alone, with its logprobs if asked for."},
    {"logprobs", R"({"type":["integer","null"],"minimum":0})", "So many likeliest tokens at each place."},
    {"add_special_tokens", kBoolean},
};

constexpr FieldDoc kEmbedding[] = {
    {"input", R"({"oneOf":[{"type":"string","minLength":1},{"type":"array","minItems":1,"maxItems":2048}]})",
     "A text, token ids, or a list of either."},
    {"model", kString},
    {"encoding_format", R"({"enum":["float","base64",null]})", "base64: of little-endian 32-bit floats."},
    {"dimensions", kCount, "The first so many numbers, at length one again; at most the model's hidden size."},
    {"truncate_prompt_tokens", R"({"type":["integer","null"],"minimum":-1})",
     "Keep so many tokens of each input; -1: what fits."},
    {"truncation_side", R"({"enum":["left","right",null]})", "Which end is cut off."},
    {"priority", R"({"type":["integer","null"]})", "Lower runs first."},
    {"cache_salt", R"({"type":["string","null"],"minLength":1})", "Cached prefixes are shared only under equal salt."},
    {"user", kAny, kIgnored},
    {"metadata", kAny, kIgnored},
    {"request_id", kAny, kIgnored},
    {"session_id", kAny, kIgnored},
};

constexpr FieldDoc kResponses[] = {
    {"input", R"({"oneOf":[{"type":"string"},{"type":"array"},{"type":"null"}]})", "A question, or a list of items."},
    {"model", kString},
    {"instructions", R"({"oneOf":[{"type":"string"},{"type":"array"},{"type":"null"}]})",
     "A system message, for this response only."},
    {"previous_response_id", kString, "The conversation that this goes on with."},
    {"max_output_tokens", kCount},
    {"temperature", R"({"type":["number","null"],"minimum":0,"maximum":2})"},
    {"top_p", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":1})"},
    {"reasoning", kObject, "{\"effort\": \"none\"} turns thinking off."},
    {"text", kObject, "{\"format\": …}: text, json_object, json_schema."},
    {"tools", R"({"type":["array","null"],"items":{"type":"object"}})", "Functions; tools of other types are skipped."},
    {"tool_choice", R"({"oneOf":[{"enum":["auto","none","required"]},{"type":"object"},{"type":"null"}]})"},
    {"parallel_tool_calls", kBoolean},
    {"stream", kBoolean},
    {"store", kBoolean, "false: not kept for previous_response_id."},
    {"metadata", kAny, "Repeated in the response."},
    {"user", kAny, kIgnored},
    {"include", kAny, kIgnored},
    {"truncation", kAny, kIgnored},
};

constexpr FieldDoc kMessages[] = {
    {"messages", R"({"type":"array","minItems":1,"items":{"type":"object","required":["role","content"]}})",
     "The conversation."},
    {"model", kString},
    {"system", R"({"oneOf":[{"type":"string"},{"type":"array"},{"type":"null"}]})"},
    {"tools", R"({"type":["array","null"],"items":{"type":"object"}})",
     "Custom tools; those that Anthropic would run are skipped."},
    {"tool_choice", R"({"type":["object","null"]})", "auto, any, tool, none."},
    {"thinking", R"({"type":["object","null"]})", "enabled or adaptive turns thinking on."},
    {"output_config", kObject, "{\"format\": …}: json_schema; {\"effort\": …}."},
};

constexpr FieldDoc kMessagesOnly[] = {
    {"max_tokens", R"({"type":"integer","minimum":1})"},
    {"stop_sequences", kStop, "The answer ends before any of these."},
    {"stream", kBoolean},
    {"temperature", R"({"type":["number","null"],"minimum":0,"maximum":2})"},
    {"top_p", R"({"type":["number","null"],"exclusiveMinimum":0,"maximum":1})"},
    {"top_k", R"({"type":["integer","null"],"minimum":-1})"},
    {"metadata", kAny, kIgnored},
};

constexpr FieldDoc kTokenize[] = {
    {"prompt", kString, "Either this or messages."},
    {"messages", R"({"type":["array","null"],"minItems":1,"items":{"type":"object","required":["role"]}})",
     "A chat; it counts before prompt."},
    {"add_special_tokens", kBoolean},
    {"model", kString},
    {"return_token_strs", kBoolean},
};

constexpr FieldDoc kDetokenize[] = {
    {"tokens", R"({"type":"array","items":{"type":"integer","minimum":0}})"}, {"model", kString},
};

}  // namespace

const std::vector<BodyDoc>& body_docs() {
  static const std::vector<BodyDoc> docs = {
      {"ChatCompletionRequest",
       {"messages"},
       {kChatInput, kChat, kSampling},
       {{"A chat", R"({"messages":[{"role":"user","content":"Which port does the gale API use by default?"}]})"},
        {"A stream", R"({"messages":[{"role":"user","content":"Which port does the gale API use by default?"}],
                         "stream":true,"stream_options":{"include_usage":true}})"},
        {"A tool", R"({"messages":[{"role":"user","content":"What is the weather in Oslo?"}],
                       "tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object",
                       "properties":{"city":{"type":"string"}},"required":["city"]}}}]})"}}},
      {"CompletionRequest",
       {"prompt"},
       {kCompletion, kSampling},
       {{"A text", R"({"prompt":"Once upon a time","max_tokens":32})"}}},
      {"EmbeddingRequest", {"input"}, {kEmbedding}, {{"Two texts", R"({"input":["The wind","A gale"]})"}}},
      {"ResponsesRequest",
       {},
       {kResponses},
       {{"A question", R"({"input":"Which port does the gale API use by default?"})"},
        {"A stream", R"({"input":"Which port does the gale API use by default?","stream":true})"}}},
      {"MessagesRequest",
       {"messages", "max_tokens"},
       {kMessages, kMessagesOnly},
       {{"A message", R"({"messages":[{"role":"user","content":"Which port does the gale API use by default?"}],
                          "max_tokens":200})"},
        {"A stream", R"({"messages":[{"role":"user","content":"Which port does the gale API use by default?"}],
                         "max_tokens":200,"stream":true})"}}},
      {"CountTokensRequest",
       {"messages"},
       {kMessages},
       {{"A message", R"({"messages":[{"role":"user","content":"Hello"}]})"}}},
      {"TokenizeRequest",
       {},
       {kTokenize, kChatInput},
       {{"A text", R"({"prompt":"Hello","return_token_strs":true})"},
        {"A chat", R"({"messages":[{"role":"user","content":"Hello"}]})"}}},
      {"DetokenizeRequest", {"tokens"}, {kDetokenize}, {{"Two tokens", R"({"tokens":[300,301]})"}}},
  };
  return docs;
}

}  // namespace gale
