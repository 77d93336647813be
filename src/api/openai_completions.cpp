#include "api/openai_completions.h"

#include "api/prompt_list.h"

namespace gale {
namespace {

constexpr int kDefaultMaxTokens = 16;   // OpenAI's own for this endpoint

}  // namespace

Result<CompletionRequest> parse_completion_request(const Json& body, const ApiContext& context) {
  if (!body.is_object())
    return fail(ErrorCode::kInvalidArgument, "the body must be a JSON object, got {}", brief(body));
  CompletionRequest request;
  GenerateRequest shared;
  shared.max_tokens = kDefaultMaxTokens;
  RequestReader reader(body);
  reader.boolean("echo", request.echo);
  read_generation_fields(reader, context, shared, request.answer, request.echo ? 0 : 1);
  request.is_echo_only = shared.max_tokens == 0;
  if (request.is_echo_only) shared.max_tokens = 1;   // an engine generates at least that
  reader.integer("logprobs", {0, static_cast<double>(context.limits.max_logprobs)}, shared.num_logprobs);
  read_prompt_logprobs(reader, context, shared, request.answer);
  if (request.echo && shared.num_logprobs >= 0) {
    if (request.answer.tells_prompt_logprobs)
      reader.refuse("prompt_logprobs", ErrorCode::kInvalidArgument,
                    "prompt_logprobs beside echo with logprobs: those tell the prompt's already");
    shared.num_prompt_logprobs = shared.num_logprobs;
  }
  reader.refuse_unless("best_of", {Json(1)}, "best_of is not supported");
  reader.refuse_unless("suffix", {Json("")}, "suffix is not supported");
  bool add_special_tokens = true;
  reader.boolean("add_special_tokens", add_special_tokens);
  (void)reader.find("prompt");   // read below
  GALE_TRY(finish_reading(reader));
  GALE_ASSIGN(std::vector<PromptInput> prompts,
              read_prompt_list(body, {"prompt", context.limits.max_prompts, context.vocab_size}));
  for (PromptInput& prompt : prompts) {
    if (auto* text = std::get_if<TextPrompt>(&prompt)) text->add_special_tokens = add_special_tokens;
    request.generate.push_back(shared);
    request.generate.back().prompt = std::move(prompt);
  }
  return request;
}

}  // namespace gale
