#include "api/prompt_list.h"

#include "api/request_reader.h"

namespace gale {
namespace {

Result<PromptInput> read_one(const Json& prompt, const PromptListField& field) {
  const Error is_empty{ErrorCode::kInvalidArgument, fmt::format("{} must not be empty", field.key), field.key};
  if (prompt.is_string()) {
    if (prompt.get_ref<const std::string&>().empty()) return tl::unexpected(is_empty);
    return PromptInput(TextPrompt{prompt.get<std::string>()});
  }
  const Json holder{{field.key, prompt}};
  RequestReader reader(holder);
  TokenPrompt tokens;
  reader.token_ids(field.key, field.vocab_size, tokens.tokens);
  GALE_TRY(reader.status());
  if (tokens.tokens.empty()) return tl::unexpected(is_empty);
  return PromptInput(std::move(tokens));
}

}  // namespace

Result<std::vector<PromptInput>> read_prompt_list(const Json& body, const PromptListField& field) {
  const auto prompt = body.find(field.key);
  if (prompt == body.end() || prompt->is_null())
    return fail_param(ErrorCode::kInvalidArgument, field.key, "{}: this field is required", field.key);
  const bool is_list = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  const Json list = is_list ? *prompt : Json::array({*prompt});
  if (list.size() > field.max_prompts)
    return fail_param(ErrorCode::kInvalidArgument, field.key, "{}: {} {}s; at most {} are allowed", field.key,
                      list.size(), field.key, field.max_prompts);
  std::vector<PromptInput> prompts;
  for (const Json& one : list) {
    GALE_ASSIGN(PromptInput input, read_one(one, field));
    prompts.push_back(std::move(input));
  }
  return prompts;
}

}  // namespace gale
