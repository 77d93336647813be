#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer_parts.h"

namespace gale {

// A stretch of one kind in an answer. `text` of a tool call: its arguments as JSON.
struct AnswerBlock {
  enum class Kind { kReasoning, kText, kToolCall };
  Kind kind = Kind::kText;
  std::string text;
  std::string call_id, name;                      // of a tool call
};

// For wire formats that tell an answer as a list of blocks which open, grow and close one after the other. Holds the
// blocks so far; what a format says about them is the subclass's. One request with one choice. Reasoning that is not to
// be shown makes no block.
class BlockWriter : public AnswerBase {
 public:
  BlockWriter(AnswerInfo info, bool is_stream) : AnswerBase(std::move(info)), is_stream_(is_stream) {}

  [[nodiscard]] std::string add(int request, const Event& event) final;
  [[nodiscard]] std::string body() const final { return dump_json(whole()); }

 protected:
  // Frames for streams; what they return for a whole answer is not sent.
  virtual std::string on_started(int num_prompt_tokens) = 0;
  virtual std::string on_open(const AnswerBlock& block, size_t index) = 0;
  virtual std::string on_piece(const AnswerBlock& block, size_t index, std::string_view piece) = 0;
  virtual std::string on_close(const AnswerBlock& block, size_t index) = 0;
  virtual std::string on_completed() = 0;
  virtual std::string on_failed(const Failed& failed) = 0;
  // The complete answer as an object.
  [[nodiscard]] virtual Json whole() const = 0;

  [[nodiscard]] const std::vector<AnswerBlock>& blocks() const { return blocks_; }
  [[nodiscard]] const Finished& finished() const { return finished_; }
  [[nodiscard]] Usage usage() const { return total_usage(); }

  int64_t next_number_ = 0;                       // of the frames, for formats that number them

 private:
  std::string frames_of(int request, const Event& event);
  std::string add_part(const ChatDelta& part);
  std::string open(AnswerBlock block);
  std::string grow(AnswerBlock::Kind kind, std::string_view piece);
  std::string close();

  const bool is_stream_;
  std::vector<AnswerBlock> blocks_;
  bool is_open_ = false;                          // the last one
  Finished finished_;
};

// "event: NAME\ndata: {json}\n\n", NAME being the payload's type.
[[nodiscard]] std::string event_frame(const Json& payload);

}  // namespace gale
