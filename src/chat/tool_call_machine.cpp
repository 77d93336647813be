#include "chat/tool_call_machine.h"

namespace gale {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr size_t kMaxNameBytes = 512;   // from <tool_call> to the name's end, blanks included

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// The JSON string of `text` without its quotes.
std::string json_escaped(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out.substr(1, out.size() - 2);
}

}  // namespace

void ToolCallMachine::emit(std::string piece, std::vector<ChatDelta>& out) {
  out.push_back(ToolArgumentsDelta{index_, std::move(piece)});
}

void ToolCallMachine::start(std::vector<ChatDelta>& out) {
  is_started_ = true;
  state_ = State::kBetween;
  out.push_back(ToolCallStart{index_, id_, name_});
}

void ToolCallMachine::add_text(std::string_view text, std::vector<ChatDelta>& out) {
  switch (state_) {
    case State::kName: {
      raw_ += text;
      const size_t begin = std::min(raw_.find_first_not_of(kBlanks), raw_.size());   // the name's line comes first
      const size_t newline = raw_.find('\n', begin);
      if (std::min(newline, raw_.size()) > kMaxNameBytes) state_ = State::kDone;     // not a call
      if (newline == std::string::npos || state_ == State::kDone) return;
      name_ = trimmed(raw_.substr(begin, newline - begin));
      return start(out);
    }
    case State::kKey: key_ += text; return;
    case State::kValue: return add_value_text(text, out);
    case State::kBetween:
    case State::kAfterKey:
    case State::kDone: return;
  }
}

void ToolCallMachine::end_name(Tag tag, std::string_view text, std::vector<ChatDelta>& out) {
  name_ = trimmed(raw_);
  raw_ += text;
  if (!name_.empty()) {
    start(out);
    add_tag(tag, text, out);
  } else {
    state_ = State::kDone;
  }
}

void ToolCallMachine::add_tag(Tag tag, std::string_view text, std::vector<ChatDelta>& out) {
  if (state_ == State::kValue) {
    if (tag == Tag::kValueClose) return end_value(out);
    return add_value_text(text, out);
  }
  if (state_ == State::kName) return end_name(tag, text, out);
  switch (tag) {
    case Tag::kCallClose: return close_object(out);
    case Tag::kKeyOpen:
      key_.clear();
      state_ = State::kKey;
      return;
    case Tag::kKeyClose:
      if (state_ == State::kKey) state_ = State::kAfterKey;
      return;
    case Tag::kValueOpen:
      if (state_ == State::kKey || state_ == State::kAfterKey) begin_value();
      return;
    case Tag::kOther:
      if (state_ == State::kKey) key_ += text;
      return;
    case Tag::kValueClose: return;   // of nothing
  }
}

void ToolCallMachine::begin_value() {
  key_ = trimmed(key_);
  is_repeated_ = !keys_.insert(key_).second;
  type_ = types_->type_of(name_, key_);
  value_.clear();
  is_string_open_ = false;
  state_ = State::kValue;
}

std::string ToolCallMachine::key_piece() {
  std::string piece = keys_.size() == 1 ? "{" : ", ";
  append_json_string(piece, key_);
  return piece + ": ";
}

void ToolCallMachine::add_value_text(std::string_view text, std::vector<ChatDelta>& out) {
  if (is_repeated_ || text.empty()) return;
  value_ += text;
  if (type_ == ArgumentType::kOther) return;
  const auto may_become = [this](std::string_view word) { return word.starts_with(value_); };
  if (type_ == ArgumentType::kNullableString && !is_string_open_ && (may_become("null") || may_become("None"))) return;
  std::string piece = is_string_open_ ? "" : key_piece() + '"';
  is_string_open_ = true;
  emit(piece + json_escaped(value_), out);
  value_.clear();
}

void ToolCallMachine::end_value(std::vector<ChatDelta>& out) {
  state_ = State::kBetween;
  if (is_repeated_) return;
  if (is_string_open_) return emit("\"", out);
  const bool is_null = type_ == ArgumentType::kNullableString && (value_ == "null" || value_ == "None");
  if (is_null || type_ == ArgumentType::kOther) return emit(key_piece() + argument_json(value_), out);
  emit(key_piece() + '"' + json_escaped(value_) + '"', out);
}

void ToolCallMachine::close_object(std::vector<ChatDelta>& out) {
  state_ = State::kDone;
  emit(keys_.empty() ? "{}" : "}", out);
}

void ToolCallMachine::finish(std::vector<ChatDelta>& out) {
  if (state_ == State::kDone) return;
  if (state_ == State::kName) {
    name_ = trimmed(raw_);
    if (types_->has_tool(name_)) {
      start(out);
    } else {
      state_ = State::kDone;
      return;
    }
  }
  if (state_ == State::kValue && !is_repeated_) {
    if (is_string_open_) {
      emit("\"", out);
    } else if (type_ != ArgumentType::kOther && !value_.empty()) {   // "nul": a string that could have become null
      emit(key_piece() + '"' + json_escaped(value_) + '"', out);
    } else {
      keys_.erase(key_);
    }
  }
  close_object(out);
}

}  // namespace gale
