#include <utility>

#include "api/answer_blocks.h"
#include "api/chat_body.h"
#include "api/errors.h"
#include "api/openai_responses.h"

namespace gale {
namespace {

using Kind = AnswerBlock::Kind;

Json responses_usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

Json text_part(std::string_view text) {
  return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
}

class ResponsesWriter final : public BlockWriter {
 public:
  ResponsesWriter(bool is_stream, AnswerInfo info, ResponsesEcho echo, KeepResponse keep)
      : BlockWriter(std::move(info), is_stream), echo_(std::move(echo)), keep_(std::move(keep)) {}

 private:
  // "in_progress", "completed" or "incomplete" of what has no part left to come.
  [[nodiscard]] std::string_view status_of_end() const {
    return finished().reason == ChoiceFinish::kLength ? "incomplete" : "completed";
  }
  [[nodiscard]] std::string item_id(Kind kind, size_t index) const {
    const std::string_view prefix = kind == Kind::kReasoning ? "rs" : kind == Kind::kText ? "msg" : "fc";
    return fmt::format("{}{}_{}", prefix, std::string_view(info_.id).substr(info_.id.find('_')), index);
  }
  [[nodiscard]] Json item_json(const AnswerBlock& block, size_t index, std::string_view status) const {
    Json item{{"id", item_id(block.kind, index)}};
    switch (block.kind) {
      case Kind::kReasoning:
        item["type"] = "reasoning";
        item["summary"] = Json::array();
        item["content"] = Json::array();
        if (!block.text.empty()) item["content"].push_back({{"type", "reasoning_text"}, {"text", block.text}});
        break;
      case Kind::kText:
        item["type"] = "message";
        item["role"] = "assistant";
        item["content"] = Json::array();
        if (!block.text.empty()) item["content"].push_back(text_part(block.text));
        break;
      case Kind::kToolCall:
        item["type"] = "function_call";
        item["call_id"] = block.call_id;
        item["name"] = block.name;
        item["arguments"] = block.text;
        break;
    }
    item["status"] = status;
    return item;
  }
  [[nodiscard]] Json output_json() const {
    Json output = Json::array();
    for (size_t i = 0; i < blocks().size(); ++i) {
      const bool is_cut = i + 1 == blocks().size() && finished().reason == ChoiceFinish::kLength;
      output.push_back(item_json(blocks()[i], i, is_cut ? "incomplete" : "completed"));
    }
    return output;
  }
  [[nodiscard]] Json response_json(std::string_view status, Json output, Json usage, Json error) const {
    Json response{{"id", info_.id},
                  {"object", "response"},
                  {"created_at", info_.created},
                  {"status", status},
                  {"background", false},
                  {"error", std::move(error)},
                  {"incomplete_details", nullptr},
                  {"model", info_.model},
                  {"output", std::move(output)},
                  {"usage", std::move(usage)}};
    if (status == "incomplete") response["incomplete_details"] = {{"reason", "max_output_tokens"}};
    response.update(echo_.fields);
    return response;
  }

  // The payload's type comes first, its number last.
  std::string event(std::string_view type, Json rest) {
    Json payload{{"type", type}};
    payload.update(rest);
    payload["sequence_number"] = next_number_++;
    return event_frame(payload);
  }
  // An event about an item, or about the one part that its content has.
  std::string item_event(std::string_view type, Kind kind, size_t index, Json rest) {
    Json payload{{"item_id", item_id(kind, index)}, {"output_index", index}};
    if (kind != Kind::kToolCall) payload["content_index"] = 0;
    payload.update(rest);
    return event(type, std::move(payload));
  }
  [[nodiscard]] static Json part_json(const AnswerBlock& block) {
    return block.kind == Kind::kText ? text_part(block.text) : Json{{"type", "reasoning_text"}, {"text", block.text}};
  }

  std::string on_started(int) override {
    const Json response = response_json("in_progress", Json::array(), nullptr, nullptr);
    std::string out = event("response.created", {{"response", response}});   // one after the other: they are numbered
    return out += event("response.in_progress", {{"response", response}});
  }
  std::string on_open(const AnswerBlock& block, size_t index) override {
    std::string out = event("response.output_item.added",
                            {{"output_index", index}, {"item", item_json(block, index, "in_progress")}});
    if (block.kind != Kind::kToolCall)
      out += item_event("response.content_part.added", block.kind, index, {{"part", part_json(block)}});
    return out;
  }
  std::string on_piece(const AnswerBlock& block, size_t index, std::string_view piece) override {
    switch (block.kind) {
      case Kind::kReasoning: return item_event("response.reasoning_text.delta", block.kind, index, {{"delta", piece}});
      case Kind::kText:
        return item_event("response.output_text.delta", block.kind, index,
                          {{"delta", piece}, {"logprobs", Json::array()}});
      case Kind::kToolCall:
        return item_event("response.function_call_arguments.delta", block.kind, index, {{"delta", piece}});
    }
    return "";
  }
  std::string on_close(const AnswerBlock& block, size_t index) override {
    std::string out;
    switch (block.kind) {
      case Kind::kReasoning:
        out = item_event("response.reasoning_text.done", block.kind, index, {{"text", block.text}});
        break;
      case Kind::kText:
        out = item_event("response.output_text.done", block.kind, index,
                         {{"text", block.text}, {"logprobs", Json::array()}});
        break;
      case Kind::kToolCall:
        out = item_event("response.function_call_arguments.done", block.kind, index,
                         {{"name", block.name}, {"arguments", block.text}});
        break;
    }
    if (block.kind != Kind::kToolCall)
      out += item_event("response.content_part.done", block.kind, index, {{"part", part_json(block)}});
    const bool is_cut = finished().reason == ChoiceFinish::kLength;
    return out +
           event("response.output_item.done",
                 {{"output_index", index}, {"item", item_json(block, index, is_cut ? "incomplete" : "completed")}});
  }
  std::string on_completed() override {
    Json response = whole();
    if (echo_.is_stored && keep_) {
      StoredResponse stored{.response = response, .items = echo_.input, .num_input_items = echo_.input.size()};
      for (const Json& item : response["output"]) stored.items.push_back(item);
      keep_(std::move(stored));
    }
    return event(fmt::format("response.{}", status_of_end()), {{"response", std::move(response)}});
  }
  std::string on_failed(const Failed& failed) override {
    const WireError wire = wire_error(failed.error);
    const Json shown = parse_json(error_body(failed.error)).value_or(Json::object());
    const Json error{{"code", wire.code}, {"message", text_field(field_of(shown, "error"), "message")}};
    return event("response.failed",
                 {{"response", response_json("failed", output_json(), responses_usage_json(usage()), error)}});
  }
  [[nodiscard]] Json whole() const override {
    return response_json(status_of_end(), output_json(), responses_usage_json(usage()), nullptr);
  }

  const ResponsesEcho echo_;
  const KeepResponse keep_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_responses_writer(AnswerInfo info, ResponsesEcho echo, KeepResponse keep) {
  const bool is_stream = info.options.is_stream;
  return std::make_unique<ResponsesWriter>(is_stream, std::move(info), std::move(echo), std::move(keep));
}

}  // namespace gale
