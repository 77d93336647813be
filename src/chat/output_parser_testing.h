#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "chat/output_parser.h"
#include "chat/output_parser_cases.h"

// For tests: outputs as pieces, and what a parser makes of them.
namespace gale {

inline const std::array<std::string, 8> kTags = {"<think>",    "</think>",    "<tool_call>", "</tool_call>",
                                          "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};
inline constexpr TokenId kFirstTag = 1000;
inline constexpr TokenId kText = 1;
inline constexpr TokenId kUser = 2000;
inline constexpr TokenId kAssistant = 2001;

inline OutputFormat glm_format() {
  OutputFormat format;
  const std::array<OutputTag*, 8> tags = {&format.think_open,   &format.think_close,   &format.tool_call_open,
                                          &format.tool_call_close, &format.arg_key_open,  &format.arg_key_close,
                                          &format.arg_value_open,  &format.arg_value_close};
  for (size_t i = 0; i < tags.size(); ++i) *tags[i] = {kFirstTag + static_cast<TokenId>(i), kTags[i]};
  format.turns = {kUser, kAssistant};
  return format;
}

struct Piece {
  TokenId id;
  std::string text;
};

// Tags of the text become tokens, the text between them one token each. "~" before a tag makes it text.
inline std::vector<Piece> pieces_of(const std::string& output) {
  std::vector<Piece> pieces;
  std::string text;
  const auto flush = [&] {
    if (!text.empty()) pieces.push_back({kText, text});
    text.clear();
  };
  for (size_t at = 0; at < output.size();) {
    if (output[at] == '~') {
      text += output[at + 1];
      at += 2;
      continue;
    }
    size_t tag = 0;
    while (tag < kTags.size() && output.compare(at, kTags[tag].size(), kTags[tag]) != 0) ++tag;
    if (tag == kTags.size()) {
      text += output[at++];
    } else {
      flush();
      pieces.push_back({kFirstTag + static_cast<TokenId>(tag), kTags[tag]});
      at += kTags[tag].size();
    }
  }
  flush();
  return pieces;
}

struct Seen {
  std::string reasoning;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;   // name and arguments
  bool operator==(const Seen&) const = default;
};

inline void PrintTo(const Seen& seen, std::ostream* out) {
  *out << "reasoning \"" << seen.reasoning << "\" content \"" << seen.content << "\"";
  for (const auto& [name, arguments] : seen.calls) *out << " call " << name << " " << arguments;
}

inline void note(const std::vector<ChatDelta>& deltas, Seen& seen) {
  for (const ChatDelta& delta : deltas) {
    if (const auto* reasoning = std::get_if<ReasoningDelta>(&delta)) {
      EXPECT_TRUE(seen.content.empty() && seen.calls.empty()) << "reasoning comes first";
      seen.reasoning += reasoning->text;
    } else if (const auto* content = std::get_if<ContentDelta>(&delta)) {
      EXPECT_FALSE(content->text.empty());
      seen.content += content->text;
    } else if (const auto* start = std::get_if<ToolCallStart>(&delta)) {
      EXPECT_EQ(start->index, static_cast<int>(seen.calls.size()));
      seen.calls.emplace_back(start->name, "");
    } else if (const auto* arguments = std::get_if<ToolArgumentsDelta>(&delta)) {
      EXPECT_EQ(arguments->index + 1, static_cast<int>(seen.calls.size()));
      if (!seen.calls.empty()) seen.calls.back().second += arguments->json_piece;
    }
  }
}

// Parses a GLM output; `options` without tools get those of the corpus.
inline Seen parse(const std::vector<Piece>& pieces, OutputParserOptions options) {
  if (options.tools.is_null()) options.tools = output_case_tools();
  OutputParser parser(glm_format(), std::move(options));
  Seen seen;
  for (const Piece& piece : pieces) note(parser.append(piece.id, piece.text), seen);
  note(parser.finish(), seen);
  EXPECT_EQ(parser.made_tool_calls(), !seen.calls.empty());
  for (const auto& [name, arguments] : seen.calls) {
    EXPECT_FALSE(name.empty());
    const auto parsed = parse_json(arguments);
    EXPECT_TRUE(parsed && parsed->is_object()) << arguments;
  }
  return seen;
}

}  // namespace gale
