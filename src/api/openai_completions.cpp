#include "api/openai_completions.h"

#include <algorithm>

namespace gale {
namespace {

constexpr int kDefaultMaxTokens = 16;   // OpenAI's own for this endpoint

Result<PromptInput> read_one(const Json& prompt, int vocab_size) {
  if (prompt.is_string()) {
    if (prompt.get_ref<const std::string&>().empty())
      return fail_param(ErrorCode::kInvalidArgument, "prompt", "prompt must not be empty");
    return PromptInput(TextPrompt{prompt.get<std::string>()});
  }
  const Json holder{{"prompt", prompt}};
  RequestReader reader(holder);
  TokenPrompt tokens;
  reader.token_ids("prompt", vocab_size, tokens.tokens);
  GALE_TRY(reader.status());
  if (tokens.tokens.empty()) return fail_param(ErrorCode::kInvalidArgument, "prompt", "prompt must not be empty");
  return PromptInput(std::move(tokens));
}

Result<std::vector<PromptInput>> read_prompts(const Json& body, const ApiContext& context) {
  const auto prompt = body.find("prompt");
  if (prompt == body.end() || prompt->is_null())
    return fail_param(ErrorCode::kInvalidArgument, "prompt", "prompt: this field is required");
  const bool is_list = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  const Json list = is_list ? *prompt : Json::array({*prompt});
  if (list.size() > context.limits.max_prompts)
    return fail_param(ErrorCode::kInvalidArgument, "prompt", "prompt: {} prompts; at most {} are allowed", list.size(),
                      context.limits.max_prompts);
  std::vector<PromptInput> prompts;
  for (const Json& one : list) {
    GALE_ASSIGN(PromptInput input, read_one(one, context.vocab_size));
    prompts.push_back(std::move(input));
  }
  return prompts;
}

}  // namespace

Result<CompletionRequest> parse_completion_request(const Json& body, const ApiContext& context) {
  if (!body.is_object())
    return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  CompletionRequest request;
  GenerateRequest shared;
  shared.max_tokens = kDefaultMaxTokens;
  RequestReader reader(body);
  read_generation_fields(reader, context, shared, request.answer);
  reader.boolean("echo", request.echo);
  reader.integer("logprobs", {0, static_cast<double>(context.limits.max_logprobs)}, shared.num_logprobs);
  if (request.echo) shared.num_prompt_logprobs = shared.num_logprobs;
  reader.refuse_unless("best_of", {Json(1)}, "best_of is not supported");
  reader.refuse_unless("suffix", {Json("")}, "suffix is not supported");
  reader.refuse_unless("prompt_logprobs", {}, "use echo with logprobs");
  bool add_special_tokens = true;
  reader.boolean("add_special_tokens", add_special_tokens);
  (void)reader.find("prompt");   // read below
  GALE_TRY(finish_reading(reader));
  GALE_ASSIGN(std::vector<PromptInput> prompts, read_prompts(body, context));
  for (PromptInput& prompt : prompts) {
    if (auto* text = std::get_if<TextPrompt>(&prompt)) text->add_special_tokens = add_special_tokens;
    request.generate.push_back(shared);
    request.generate.back().prompt = std::move(prompt);
  }
  return request;
}

}  // namespace gale
