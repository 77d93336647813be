#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "chat/argument_value.h"
#include "chat/output_parser.h"

namespace gale {

// One tool call from after <tool_call> on: makes its deltas. Text and tags come separately.
class ToolCallMachine {
 public:
  enum class Tag { kCallClose, kKeyOpen, kKeyClose, kValueOpen, kValueClose, kOther };

  // `types` must outlive the machine. `id` and `index` are those the call will have if it turns out to be one.
  ToolCallMachine(const ArgumentTypes& types, int index, std::string id)
      : types_(&types), index_(index), id_(std::move(id)) {}

  void add_text(std::string_view text, std::vector<ChatDelta>& out);
  // `text`: how the tag is written, for where it counts as text.
  void add_tag(Tag tag, std::string_view text, std::vector<ChatDelta>& out);
  // The output ends inside the call.
  void finish(std::vector<ChatDelta>& out);

  [[nodiscard]] bool is_done() const { return state_ == State::kDone; }
  // Done without a name: `raw_text` is what came, and not a call.
  [[nodiscard]] bool is_call() const { return is_started_; }
  [[nodiscard]] const std::string& raw_text() const { return raw_; }

 private:
  enum class State { kName, kBetween, kKey, kAfterKey, kValue, kDone };

  void start(std::vector<ChatDelta>& out);
  void end_name(Tag tag, std::string_view text, std::vector<ChatDelta>& out);
  void begin_value();
  void add_value_text(std::string_view text, std::vector<ChatDelta>& out);
  void end_value(std::vector<ChatDelta>& out);
  void close_object(std::vector<ChatDelta>& out);
  void emit(std::string piece, std::vector<ChatDelta>& out);
  [[nodiscard]] std::string key_piece();   // what goes before a value: brace or comma, key, colon

  const ArgumentTypes* types_;
  int index_;
  std::string id_;
  State state_ = State::kName;
  std::string raw_;              // all so far, while there is no name
  std::string name_;
  std::string key_;
  std::string value_;            // text of the value that is not passed on yet
  ArgumentType type_ = ArgumentType::kOther;
  bool is_started_ = false;      // the name was passed on
  bool is_string_open_ = false;  // the opening quote was passed on
  bool is_repeated_ = false;     // this key had a value before
  std::set<std::string> keys_;
};

}  // namespace gale
