#include "api/answer_blocks.h"

#include <new>
#include <utility>
#include <variant>

namespace gale {

std::string BlockWriter::add(int request, const Event& event) {
  if (is_done()) return "";
  const int64_t number = next_number_;
  try {
    std::string out = frames_of(request, event);
    if (!is_stream_) out.clear();
    return out;   // not copied: the last frame counts as told now, and may not be lost
  } catch (const std::bad_alloc&) {   // nobody gets the frames that were made: the next one has their number
    next_number_ = number;
    throw;
  }
}

std::string BlockWriter::frames_of(int request, const Event& event) {
  std::string out;
  if (const auto* started = std::get_if<Started>(&event)) {
    usage_[request].prompt_tokens = static_cast<int>(started->prompt_tokens.size());
    out = on_started(usage_[request].prompt_tokens);
  } else if (const auto* delta = std::get_if<Delta>(&event)) {
    usage_[request] = delta->usage;
    for (const ChatDelta& part : delta->parts) out += add_part(part);
  } else if (const auto* finished = std::get_if<Finished>(&event)) {
    finished_ = *finished;
    out = close();
  } else if (const auto* completed = std::get_if<Completed>(&event)) {
    usage_[request] = completed->usage;
    out = on_completed();
    note_completed(request, completed->usage);
  } else if (const auto* failed = std::get_if<Failed>(&event)) {
    out = on_failed(*failed);
    note_failed(*failed);
  }
  return out;
}

std::string BlockWriter::add_part(const ChatDelta& part) {
  using Kind = AnswerBlock::Kind;
  if (const auto* reasoning = std::get_if<ReasoningDelta>(&part)) {
    return info_.include_reasoning ? grow(Kind::kReasoning, reasoning->text) : "";
  }
  if (const auto* content = std::get_if<ContentDelta>(&part)) return grow(Kind::kText, content->text);
  if (const auto* start = std::get_if<ToolCallStart>(&part)) {
    return open({.kind = Kind::kToolCall, .text = "", .call_id = start->id, .name = start->name});
  }
  return grow(Kind::kToolCall, std::get<ToolArgumentsDelta>(part).json_piece);   // calls come one after the other
}

std::string BlockWriter::open(AnswerBlock block) {
  std::string out = close();
  blocks_.push_back(std::move(block));
  is_open_ = true;
  return out + on_open(blocks_.back(), blocks_.size() - 1);
}

std::string BlockWriter::grow(AnswerBlock::Kind kind, std::string_view piece) {
  if (piece.empty()) return "";
  std::string out;
  if (!is_open_ || blocks_.back().kind != kind) out = open({.kind = kind});
  blocks_.back().text += piece;
  return out + on_piece(blocks_.back(), blocks_.size() - 1, piece);
}

std::string BlockWriter::close() {
  if (!std::exchange(is_open_, false)) return "";
  return on_close(blocks_.back(), blocks_.size() - 1);
}

std::string event_frame(const Json& payload) {
  return "event: " + payload["type"].get<std::string>() + "\n" + frame(payload);
}

}  // namespace gale
