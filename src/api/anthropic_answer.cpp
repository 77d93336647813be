#include <utility>

#include "api/answer_blocks.h"
#include "api/anthropic_messages.h"
#include "api/errors.h"

namespace gale {
namespace {

using Kind = AnswerBlock::Kind;

// Clients hand it back with the thinking; nothing here depends on it, but an empty one counts as missing.
constexpr std::string_view kSignature = "Z2FsZQ==";

// Anthropic counts cached tokens apart from the others.
Json messages_usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.completion_tokens}};
}

Json stop_sequence_json(const Finished& finished) {
  const auto* text = std::get_if<std::string>(&finished.stop_reason);
  return text != nullptr ? Json(*text) : Json(nullptr);
}

std::string_view stop_reason_name(const Finished& finished) {
  if (std::holds_alternative<std::string>(finished.stop_reason)) return "stop_sequence";
  switch (finished.reason) {
    case ChoiceFinish::kStop: return "end_turn";
    case ChoiceFinish::kLength: return "max_tokens";
    case ChoiceFinish::kToolCalls: return "tool_use";
  }
  return "end_turn";
}

Json input_json(const std::string& arguments) {
  auto parsed = parse_json(arguments);
  return parsed && parsed->is_object() ? std::move(*parsed)
                                       : Json::object();  // no arguments came before generation stopped
}

Json block_json(const AnswerBlock& block) {
  switch (block.kind) {
    case Kind::kReasoning: return {{"type", "thinking"}, {"thinking", block.text}, {"signature", kSignature}};
    case Kind::kText: return {{"type", "text"}, {"text", block.text}};
    case Kind::kToolCall:
      return {{"type", "tool_use"}, {"id", block.call_id}, {"name", block.name}, {"input", input_json(block.text)}};
  }
  return nullptr;
}

class MessagesWriter final : public BlockWriter {
 public:
  using BlockWriter::BlockWriter;

 private:
  [[nodiscard]] Json envelope(Json content, Json stop_reason, Json stop_sequence) const {
    return {{"id", info_.id},
            {"type", "message"},
            {"role", "assistant"},
            {"model", info_.model},
            {"content", std::move(content)},
            {"stop_reason", std::move(stop_reason)},
            {"stop_sequence", std::move(stop_sequence)},
            {"usage", messages_usage_json(usage())}};
  }
  std::string on_started(int) override {
    return event_frame({{"type", "message_start"}, {"message", envelope(Json::array(), nullptr, nullptr)}}) +
           std::string(kMessagesPing);
  }
  static std::string delta_frame(size_t index, Json delta) {
    return event_frame({{"type", "content_block_delta"}, {"index", index}, {"delta", std::move(delta)}});
  }
  std::string on_open(const AnswerBlock& block, size_t index) override {
    Json start = block_json({.kind = block.kind, .text = "", .call_id = block.call_id, .name = block.name});
    if (block.kind == Kind::kReasoning) start["signature"] = "";   // comes at the end
    return event_frame({{"type", "content_block_start"}, {"index", index}, {"content_block", std::move(start)}});
  }
  std::string on_piece(const AnswerBlock& block, size_t index, std::string_view piece) override {
    switch (block.kind) {
      case Kind::kReasoning: return delta_frame(index, {{"type", "thinking_delta"}, {"thinking", piece}});
      case Kind::kText: return delta_frame(index, {{"type", "text_delta"}, {"text", piece}});
      case Kind::kToolCall: return delta_frame(index, {{"type", "input_json_delta"}, {"partial_json", piece}});
    }
    return "";
  }
  std::string on_close(const AnswerBlock& block, size_t index) override {
    std::string out;
    if (block.kind == Kind::kReasoning)
      out = delta_frame(index, {{"type", "signature_delta"}, {"signature", kSignature}});
    return out + event_frame({{"type", "content_block_stop"}, {"index", index}});
  }
  std::string on_completed() override {
    const Json delta = {{"stop_reason", stop_reason_name(finished())},
                        {"stop_sequence", stop_sequence_json(finished())}};
    return event_frame({{"type", "message_delta"}, {"delta", delta}, {"usage", messages_usage_json(usage())}}) +
           event_frame({{"type", "message_stop"}});
  }
  std::string on_failed(const Failed& failed) override {
    return "event: error\ndata: " + error_body(failed.error, ErrorDialect::kAnthropic, info_.request_id) + "\n\n";
  }
  [[nodiscard]] Json whole() const override {
    Json content = Json::array();
    for (const AnswerBlock& block : blocks()) content.push_back(block_json(block));
    return envelope(std::move(content), stop_reason_name(finished()), stop_sequence_json(finished()));
  }
};

}  // namespace

std::unique_ptr<AnswerWriter> make_messages_writer(AnswerInfo info) {
  const bool is_stream = info.options.is_stream;
  return std::make_unique<MessagesWriter>(std::move(info), is_stream);
}

}  // namespace gale
