#include "chat/chat_template.h"

#include <jinja/runtime.h>

#include <exception>
#include <filesystem>
#include <new>

#include "base/json_text.h"
#include "base/mapped_file.h"
#include "chat/template_program_internal.h"
#include "chat/template_values_internal.h"

namespace gale {
namespace {

constexpr size_t kMaxTemplateBytes = 4 << 20;
constexpr size_t kMaxOutputBytes = size_t{256} << 20;
constexpr int kMaxSteps = 1'000'000;      // rounds of loops and calls of macros
constexpr int kMaxDepth = 100;            // macros within macros
constexpr int64_t kMaxRange = 100'000;    // numbers that range() makes
// Stands where the prompt is to be cut. It could be in the client's text, too; the last one counts.
constexpr std::string_view kEndMark = "\uE000gale-continues-here\uE001";

using jinja::func_args;
using jinja::mk_val;

// What one rendering has used up so far.
struct Usage {
  size_t output_bytes = 0;
  int steps = 0;
  int depth = 0;

  void print(size_t bytes) {
    output_bytes += bytes;
    if (output_bytes > kMaxOutputBytes) throw jinja::raised_exception("the chat template prints too much");
  }
  void step() {
    if (++steps > kMaxSteps) throw jinja::raised_exception("the chat template runs too long");
  }
  void enter() {
    step();
    if (++depth > kMaxDepth) throw jinja::raised_exception("the chat template nests macros too deeply");
  }
};

jinja::value nothing() { return mk_val<jinja::value_undefined>(); }

void set_function(jinja::context& context, const char* name, jinja::func_handler function) {
  context.set_val(name, mk_val<jinja::value_func>(name, std::move(function)));
}

jinja::value bounded_range(const func_args& args) {
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = args.count();
  if (count < 1 || count > 3) throw jinja::raised_exception("range() takes one to three numbers");
  for (size_t i = 0; i < count; ++i) bounds[count == 1 ? 1 : i] = args.get_pos(i)->as_int();
  const auto [start, stop, step] = bounds;
  if (step == 0) throw jinja::raised_exception("range() step must not be 0");
  auto numbers = mk_val<jinja::value_array>();
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (numbers->as_array().size() == kMaxRange) throw jinja::raised_exception("range() is too long");
    numbers->push_back(mk_val<jinja::value_int>(i));
  }
  return numbers;
}

std::vector<PromptSegment> segments_of(const jinja::value_array& results) {
  std::vector<PromptSegment> segments;
  for (const auto& part : jinja::runtime::gather_string_parts(results)->as_string().parts) {
    if (part.val.empty()) continue;
    if (segments.empty() || segments.back().is_template_text != part.is_input) segments.push_back({{}, part.is_input});
    segments.back().text += part.val;
  }
  return segments;
}

// The messages with the end mark behind the text of the last one.
Result<Json> with_end_mark(const Json& messages) {
  if (!messages.is_array() || messages.empty() || !messages.back().value("content", Json()).is_string())
    return fail_param(ErrorCode::kInvalidArgument, "messages", "there is no final message with text to continue");
  Json marked = messages;
  marked.back()["content"] = marked.back()["content"].get<std::string>() + std::string(kEndMark);
  return marked;
}

Result<std::vector<PromptSegment>> cut_at_end_mark(std::vector<PromptSegment> segments) {
  while (!segments.empty()) {
    const size_t at = segments.back().text.rfind(kEndMark);
    if (at != std::string::npos) {
      segments.back().text.resize(at);
      if (at == 0) segments.pop_back();
      return segments;
    }
    segments.pop_back();
  }
  return fail_param(ErrorCode::kInvalidArgument, "continue_final_message", "the chat template drops the final message");
}

// The named tokens of tokenizer_config.json: strings, or objects with "content".
Json special_tokens_of(const Json& config) {
  Json tokens = Json::object();
  for (const auto& [key, value] : config.items()) {
    if (!key.ends_with("_token")) continue;
    const Json& text = value.is_object() && value.contains("content") ? value["content"] : value;
    if (text.is_string()) tokens[key] = text;
  }
  return tokens;
}

// "chat_template" is a text, or a list of named ones, of which "default" is ours.
Result<std::string> template_in_config(const Json& config, const std::string& path) {
  const Json found = config.value("chat_template", Json());
  if (found.is_string()) return found.get<std::string>();
  if (found.is_array())
    for (const Json& entry : found)
      if (entry.is_object() && text_of(entry.value("name", Json())) == "default" &&
          entry.value("template", Json()).is_string())
        return entry["template"].get<std::string>();
  return fail(ErrorCode::kNotFound, "{}: no chat_template (and no chat_template.jinja beside it)", path);
}

}  // namespace

struct ChatTemplate::Program {
  std::string source;
  Json special_tokens;
  std::vector<jinja::value> texts;   // of the template, marked; never changed
  jinja::program program;

  void prepare(jinja::context& context, const ChatInput& input, const Json& messages, Usage& usage) const;
};

void ChatTemplate::Program::prepare(jinja::context& context, const ChatInput& input, const Json& messages,
                                    Usage& usage) const {
  for (const auto& [name, text] : special_tokens.items()) context.set_val(name, template_text(text.get<std::string>()));
  if (input.template_kwargs.is_object())
    for (const auto& [name, value] : input.template_kwargs.items()) context.set_val(name, template_value(value));
  context.set_val("messages", template_value(messages));
  context.set_val("tools", template_value(input.tools));
  context.set_val("documents", template_value(input.documents));
  const bool adds_prompt = input.add_generation_prompt && !input.continue_final_message;
  context.set_val("add_generation_prompt", mk_val<jinja::value_bool>(adds_prompt));
  context.set_val(kTextList, mk_val<jinja::value_array>(texts));
  set_function(context, "range", bounded_range);
  set_function(context, kTextFunction, [this, &usage](const func_args& args) {
    const jinja::value& text = texts.at(args.get_pos(0)->as_int());
    usage.print(text->as_string().length());
    return text;
  });
  set_function(context, kPrintFunction, [&usage](const func_args& args) {
    jinja::value printed = printed_value(args.get_pos(0));
    if (!printed->is_undefined()) usage.print(printed->as_string().length());
    return printed;
  });
  set_function(context, kStepFunction, [&usage](const func_args&) { return usage.step(), nothing(); });
  set_function(context, kEnterFunction, [&usage](const func_args&) { return usage.enter(), nothing(); });
  set_function(context, kLeaveFunction, [&usage](const func_args&) { return --usage.depth, nothing(); });
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::~ChatTemplate() = default;

const std::string& ChatTemplate::source() const { return program_->source; }

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(const std::string& source, const Json& special_tokens) {
  GALE_ASSIGN(TemplateProgram parsed, parse_template(source));
  auto program = std::make_unique<Program>();
  program->source = source;
  program->special_tokens = special_tokens.is_object() ? special_tokens : Json::object();
  for (const std::string& text : parsed.texts) program->texts.push_back(template_text(text));
  program->program = std::move(parsed.program);
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(program)));
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::load(const std::string& model_dir) {
  const std::string template_path = model_dir + "/chat_template.jinja";
  const std::string config_path = model_dir + "/tokenizer_config.json";
  Json config = Json::object();
  std::error_code ignored;   // unreadable counts as absent here; reading says why where it matters
  if (std::filesystem::exists(config_path, ignored)) {
    GALE_ASSIGN(const std::string text, read_file(config_path, size_t{64} << 20));
    auto parsed = parse_json(text);
    if (!parsed) return fail(ErrorCode::kCorrupt, "{}: {}", config_path, parsed.error().message);
    if (!parsed->is_object()) return fail(ErrorCode::kCorrupt, "{}: expected an object", config_path);
    config = *std::move(parsed);
  }
  std::string source;
  const bool has_file = std::filesystem::exists(template_path, ignored);
  if (has_file) {
    GALE_ASSIGN(source, read_file(template_path, kMaxTemplateBytes));
  } else {
    GALE_ASSIGN(source, template_in_config(config, config_path));
  }
  auto parsed = parse(source, special_tokens_of(config));
  if (!parsed)
    return fail(parsed.error().code, "{}: {}", has_file ? template_path : config_path, parsed.error().message);
  return parsed;
}

Result<std::vector<PromptSegment>> ChatTemplate::render(const ChatInput& input) const {
  Json messages = input.messages;
  if (input.continue_final_message) {
    GALE_ASSIGN(messages, with_end_mark(input.messages));
  }
  std::vector<PromptSegment> segments;
  try {
    Usage usage;
    jinja::context context(program_->source);
    program_->prepare(context, input, messages, usage);
    segments = segments_of(jinja::runtime(context).execute(program_->program));
  } catch (const std::bad_alloc&) {    // not the conversation's fault
    throw;
  } catch (const std::exception& exception) {
    // The template engine hands on whatever it catches as an error of its own that ends with its words.
    if (std::string_view(exception.what()).ends_with("\nError: std::bad_alloc")) throw std::bad_alloc();
    return fail_param(ErrorCode::kInvalidArgument, "messages", "the chat template refuses this conversation: {}",
                      engine_message(exception.what()));
  }
  if (input.continue_final_message) return cut_at_end_mark(std::move(segments));
  return segments;
}

}  // namespace gale
