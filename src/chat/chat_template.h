#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace gale {

// A piece of a rendered prompt. Template text may name control tokens; all other text came with the request (message
// texts, tool descriptions, names) and is plain: "<|user|>" in it is eight characters, not a token.
struct PromptSegment {
  std::string text;
  bool is_template_text;
  bool operator==(const PromptSegment&) const = default;
};

struct ChatInput {
  Json messages;                        // as normalise_messages returns them
  Json tools;                           // OpenAI tool objects as the client sent them; null or []: none
  Json documents;                       // what retrieval found, for templates that show it; null: none
  Json template_kwargs;                 // further variables, e.g. {"enable_thinking": false}; null: none
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the prompt ends inside the last message's text; no generation prompt then
};

// The chat template of a model (Jinja), with the environment that Hugging Face's transformers gives it: trim_blocks,
// lstrip_blocks, loop controls, tojson that keeps non-ASCII, raise_exception, strftime_now, bos_token and its like.
// Immutable, so thread-safe. Steps, output bytes and nesting of a rendering are bounded.
class ChatTemplate {
 public:
  // From model_dir/chat_template.jinja, else "chat_template" in model_dir/tokenizer_config.json.
  [[nodiscard]] static Result<std::unique_ptr<ChatTemplate>> load(const std::string& model_dir);

  // From the template's text. `special_tokens`: an object of strings like {"eos_token": "</s>"}, or null.
  [[nodiscard]] static Result<std::unique_ptr<ChatTemplate>> parse(const std::string& source,
                                                                   const Json& special_tokens);
  ~ChatTemplate();

  // Neighbouring segments differ in kind; none is empty. kInvalidArgument when the template refuses the messages.
  [[nodiscard]] Result<std::vector<PromptSegment>> render(const ChatInput& input) const;

  // The template's text: for comparing, and for pages that show it.
  [[nodiscard]] const std::string& source() const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace gale
