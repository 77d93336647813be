#include "chat/output_parser.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/check.h"
#include "chat/tool_call_machine.h"
#include "tokenizer/mix.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr size_t kMaxHeldBlanks = 4096;   // more in a row are text, whatever follows

std::string make_call_id(uint64_t seed, int index) {
  static constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  constexpr int kLength = 24;
  std::string id = "call_";
  uint64_t state = mix_bits(seed) ^ static_cast<uint64_t>(index + 1) * 0x9E3779B97F4A7C15;
  for (int i = 0; i < kLength; ++i) id += kAlphabet[mix_bits(state + static_cast<uint64_t>(i)) % kAlphabet.size()];
  return id;
}

// Text that follows the last one of its kind joins it.
template <class Delta>
void emit_text(std::string_view text, std::vector<ChatDelta>& out) {
  if (text.empty()) return;
  if (!out.empty())
    if (auto* last = std::get_if<Delta>(&out.back())) {
      last->text += text;
      return;
    }
  out.push_back(Delta{std::string(text)});
}

}  // namespace

OutputFormat OutputFormat::detect(const Tokenizer& tokenizer) {
  OutputFormat format;
  const auto find = [&](const char* text) {
    return OutputTag{tokenizer.find_added_token(text).value_or(kNoToken), text};
  };
  const std::array think = {find("<think>"), find("</think>")};
  const std::array call = {find("<tool_call>"), find("</tool_call>"), find("<arg_key>"),
                           find("</arg_key>"),  find("<arg_value>"),  find("</arg_value>")};
  const auto is_there = [](const OutputTag& tag) { return tag.id != kNoToken; };
  if (std::all_of(think.begin(), think.end(), is_there)) {
    format.think_open = think[0];
    format.think_close = think[1];
  }
  if (std::all_of(call.begin(), call.end(), is_there)) {
    format.tool_call_open = call[0];
    format.tool_call_close = call[1];
    format.arg_key_open = call[2];
    format.arg_key_close = call[3];
    format.arg_value_open = call[4];
    format.arg_value_close = call[5];
  }
  for (const char* text : {"<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<|im_start|>"})
    if (const auto id = tokenizer.find_added_token(text)) format.turns.push_back(*id);
  return format;
}

PromptThinking thinking_in_prompt(const OutputFormat& format, std::span<const TokenId> prompt) {
  if (!format.has_reasoning()) return PromptThinking::kClosed;
  for (auto id = prompt.rbegin(); id != prompt.rend(); ++id) {
    if (*id == format.think_open.id) return PromptThinking::kOpen;
    if (*id == format.think_close.id) return PromptThinking::kClosed;
    if (std::find(format.turns.begin(), format.turns.end(), *id) != format.turns.end()) break;
  }
  return PromptThinking::kUnopened;
}

class OutputParser::Machine {
 public:
  Machine(const OutputFormat& format, OutputParserOptions options)
      : format_(format), options_(std::move(options)), types_(options_.tools) {
    CHECK(!options_.starts_in_reasoning || format_.has_reasoning());
    is_reasoning_ = options_.starts_in_reasoning;
    parses_calls_ = options_.parse_tool_calls && format_.has_tool_calls();
    // The model may write a think block of its own, so blanks before it are not content yet.
    strips_newline_ = options_.strip_leading_newline;
  }

  std::vector<ChatDelta> append(TokenId id, std::string_view text);
  std::vector<ChatDelta> finish();

  int num_calls() const { return num_calls_; }
  int num_reasoning_tokens() const { return num_reasoning_tokens_; }
  OutputPhase phase() const {
    return call_ ? OutputPhase::kToolCall : is_reasoning_ ? OutputPhase::kReasoning : OutputPhase::kContent;
  }

 private:
  const OutputTag* find_tag(TokenId id) const;
  void add_text(std::string_view text, std::vector<ChatDelta>& out);
  void add_content(std::string_view text, std::vector<ChatDelta>& out);
  void add_tag(const OutputTag& tag, std::vector<ChatDelta>& out);
  ToolCallMachine::Tag call_tag(const OutputTag& tag) const;
  void leave_call(std::vector<ChatDelta>& out);

  OutputFormat format_;
  OutputParserOptions options_;
  ArgumentTypes types_;
  std::optional<ToolCallMachine> call_;   // while inside one
  bool parses_calls_ = false;
  bool is_reasoning_ = false;
  bool strips_newline_ = false;           // the next newline, if it is the first of the content
  bool has_content_ = false;              // some was passed on
  bool blanks_are_text_ = false;          // the blanks that come now: too many to hold
  std::string held_blanks_;               // of the content: dropped if a tag follows, else passed on
  int num_calls_ = 0;
  int num_reasoning_tokens_ = 0;
};

const OutputTag* OutputParser::Machine::find_tag(TokenId id) const {
  if (id == kNoToken) return nullptr;
  if (format_.has_reasoning())
    for (const OutputTag* tag : {&format_.think_open, &format_.think_close})
      if (tag->id == id) return tag;
  if (parses_calls_)
    for (const OutputTag* tag : {&format_.tool_call_open, &format_.tool_call_close, &format_.arg_key_open,
                                 &format_.arg_key_close, &format_.arg_value_open, &format_.arg_value_close})
      if (tag->id == id) return tag;
  return nullptr;
}

std::vector<ChatDelta> OutputParser::Machine::append(TokenId id, std::string_view text) {
  std::vector<ChatDelta> out;
  const bool was_reasoning = is_reasoning_;
  const OutputTag* tag = find_tag(id);
  if (tag != nullptr) {
    if (text.ends_with(tag->text)) text.remove_suffix(tag->text.size());
    if (!text.empty()) add_text(text, out);
    add_tag(*tag, out);
  } else {
    add_text(text, out);
  }
  if (id != kNoToken && (was_reasoning || is_reasoning_)) ++num_reasoning_tokens_;
  return out;
}

void OutputParser::Machine::add_text(std::string_view text, std::vector<ChatDelta>& out) {
  if (call_) {
    call_->add_text(text, out);
    if (call_->is_done()) leave_call(out);
    return;
  }
  if (is_reasoning_) return emit_text<ReasoningDelta>(text, out);
  add_content(text, out);
}

void OutputParser::Machine::add_content(std::string_view text, std::vector<ChatDelta>& out) {
  held_blanks_ += text;
  const size_t last = held_blanks_.find_last_not_of(kBlanks);
  if (last != std::string::npos) blanks_are_text_ = false;
  const size_t num_blanks = last == std::string::npos ? held_blanks_.size() : held_blanks_.size() - last - 1;
  blanks_are_text_ = blanks_are_text_ || num_blanks > kMaxHeldBlanks;
  const bool may_be_dropped = parses_calls_ || (format_.has_reasoning() && !has_content_);
  if (may_be_dropped && last == std::string::npos && !blanks_are_text_) return;
  std::string content = std::exchange(held_blanks_, {});
  if (parses_calls_ && !blanks_are_text_) {
    held_blanks_ = content.substr(last + 1);
    content.resize(last + 1);
  }
  has_content_ = has_content_ || !content.empty();
  if (!content.empty() && std::exchange(strips_newline_, false) && content.front() == '\n') content.erase(0, 1);
  emit_text<ContentDelta>(content, out);
}

ToolCallMachine::Tag OutputParser::Machine::call_tag(const OutputTag& tag) const {
  using Tag = ToolCallMachine::Tag;
  if (tag.id == format_.tool_call_close.id) return Tag::kCallClose;
  if (tag.id == format_.arg_key_open.id) return Tag::kKeyOpen;
  if (tag.id == format_.arg_key_close.id) return Tag::kKeyClose;
  if (tag.id == format_.arg_value_open.id) return Tag::kValueOpen;
  if (tag.id == format_.arg_value_close.id) return Tag::kValueClose;
  return Tag::kOther;
}

void OutputParser::Machine::leave_call(std::vector<ChatDelta>& out) {
  const ToolCallMachine call = std::move(*call_);
  call_.reset();
  if (call.is_call()) {
    ++num_calls_;
  } else {
    add_content(format_.tool_call_open.text + call.raw_text(), out);
  }
}

void OutputParser::Machine::add_tag(const OutputTag& tag, std::vector<ChatDelta>& out) {
  if (call_) {
    call_->add_tag(call_tag(tag), tag.text, out);
    if (call_->is_done()) leave_call(out);
    return;
  }
  if (tag.id == format_.think_open.id) {
    if (is_reasoning_ || has_content_ || num_calls_ > 0) return;
    held_blanks_.clear();
    is_reasoning_ = true;
  } else if (tag.id == format_.think_close.id) {
    if (is_reasoning_) strips_newline_ = options_.strip_leading_newline;
    is_reasoning_ = false;
  } else if (tag.id == format_.tool_call_open.id) {
    held_blanks_.clear();
    is_reasoning_ = false;
    call_.emplace(types_, num_calls_, make_call_id(options_.tool_call_id_seed, num_calls_));
  } else {
    add_text(tag.text, out);
  }
}

std::vector<ChatDelta> OutputParser::Machine::finish() {
  std::vector<ChatDelta> out;
  if (call_) {
    call_->finish(out);
    if (call_->is_call()) ++num_calls_;
    call_.reset();
  } else if (num_calls_ == 0 && !held_blanks_.empty()) {
    if (strips_newline_ && held_blanks_.front() == '\n') held_blanks_.erase(0, 1);
    emit_text<ContentDelta>(held_blanks_, out);
  }
  held_blanks_.clear();
  return out;
}

OutputParser::OutputParser(const OutputFormat& format, OutputParserOptions options)
    : machine_(std::make_unique<Machine>(format, std::move(options))) {}
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;
OutputParser::~OutputParser() = default;

std::vector<ChatDelta> OutputParser::append(TokenId id, std::string_view text) { return machine_->append(id, text); }
std::vector<ChatDelta> OutputParser::finish() { return machine_->finish(); }
bool OutputParser::made_tool_calls() const { return machine_->num_calls() > 0; }
OutputPhase OutputParser::phase() const { return machine_->phase(); }
int OutputParser::num_reasoning_tokens() const { return machine_->num_reasoning_tokens(); }

}  // namespace gale
