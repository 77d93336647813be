// Random model outputs, cut in random ways: the parser must say the same of all cuts, its arguments must be JSON
// objects, and reasoning must come before everything else. Ends with 1 at the first input that breaks this, and prints
// it.

#include <array>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "chat/output_parser.h"

namespace gale {
namespace {

constexpr TokenId kFirstTag = 1000;
constexpr TokenId kText = 1;
constexpr std::array<const char*, 8> kTags = {"<think>",   "</think>",   "<tool_call>", "</tool_call>",
                                              "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};
constexpr std::array<const char*, 26> kFragments = {
    "text",  "count", "any",   "maybe",       "write",        "search", "\n",   " ",     "\n\n",
    "\"",    "\\",    "{",     "}",           "[1, 2",        "]",      "null", "nul",   "True",
    "-1.5e", "7",     "'a': ", "<tool_call>", "</arg_value>", "北",     "😀",   "\t\x01"};

struct Piece {
  TokenId id;
  std::string text;
};

struct Seen {
  std::string reasoning, content, calls, problem;
  bool operator==(const Seen&) const = default;
};

Json tools() {
  return Json::parse(R"([
    {"type": "function", "function": {"name": "write", "parameters": {"type": "object",
    "properties": {"text": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {
      "count": {"type": "integer"}, "any": {}, "maybe": {"type": ["string", "null"]}}}}}])");
}

OutputFormat glm_format() {
  OutputFormat format;
  TokenId next = kFirstTag;
  for (OutputTag* tag :
       {&format.think_open, &format.think_close, &format.tool_call_open, &format.tool_call_close, &format.arg_key_open,
        &format.arg_key_close, &format.arg_value_open, &format.arg_value_close}) {
    *tag = {next, kTags[static_cast<size_t>(next - kFirstTag)]};
    ++next;
  }
  return format;
}

class Checker {
 public:
  Seen parse(const std::vector<Piece>& pieces, const OutputParserOptions& options) const {
    OutputParser parser(format_, options);
    Seen seen;
    std::vector<std::string> arguments;
    const auto note = [&](const std::vector<ChatDelta>& deltas) {
      for (const ChatDelta& delta : deltas) {
        if (const auto* reasoning = std::get_if<ReasoningDelta>(&delta)) {
          if (!seen.content.empty() || !arguments.empty()) seen.problem = "reasoning behind something else";
          seen.reasoning += reasoning->text;
        } else if (const auto* content = std::get_if<ContentDelta>(&delta)) {
          seen.content += content->text;
        } else if (const auto* start = std::get_if<ToolCallStart>(&delta)) {
          arguments.emplace_back();
          seen.calls += "\n" + std::to_string(start->index) + start->id + start->name;
        } else if (const auto* piece = std::get_if<ToolArgumentsDelta>(&delta)) {
          if (piece->index + 1 != static_cast<int>(arguments.size())) seen.problem = "arguments of another call";
          else arguments.back() += piece->json_piece;
        }
      }
    };
    for (const Piece& piece : pieces) note(parser.append(piece.id, piece.text));
    note(parser.finish());
    for (const std::string& json : arguments) {
      const auto parsed = parse_json(json);
      if (!parsed || !parsed->is_object()) seen.problem = "arguments that are no object: " + json;
      seen.calls += json;
    }
    return seen;
  }

 private:
  OutputFormat format_ = glm_format();
};

std::vector<Piece> random_pieces(std::mt19937_64& random) {
  std::vector<Piece> pieces;
  for (size_t count = random() % 30; count > 0; --count) {
    if (random() % 2 == 0) {
      const size_t tag = random() % kTags.size();
      pieces.push_back({kFirstTag + static_cast<TokenId>(tag), kTags[tag]});
    } else {
      pieces.push_back({kText, kFragments[random() % kFragments.size()]});
    }
  }
  return pieces;
}

// Neighbouring texts as one.
std::vector<Piece> joined(const std::vector<Piece>& pieces) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces) {
    if (piece.id == kText && !out.empty() && out.back().id == kText) out.back().text += piece.text;
    else out.push_back(piece);
  }
  return out;
}

std::vector<Piece> single_characters(const std::vector<Piece>& pieces) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces) {
    if (piece.id != kText) out.push_back(piece);
    for (size_t at = 0; piece.id == kText && at < piece.text.size();) {
      const size_t length = decode_utf8(std::string_view(piece.text).substr(at)).length;
      out.push_back({kText, piece.text.substr(at, length)});
      at += length;
    }
  }
  return out;
}

int run(long num_inputs, uint64_t seed) {
  std::mt19937_64 random(seed);
  const Checker checker;
  const Json all_tools = tools();
  for (long i = 0; i < num_inputs; ++i) {
    const std::vector<Piece> pieces = random_pieces(random);
    const OutputParserOptions options{
        .starts_in_reasoning = random() % 2 == 0, .parse_tool_calls = random() % 4 != 0, .tools = all_tools};
    const Seen seen = checker.parse(pieces, options);
    if (seen.problem.empty() && seen == checker.parse(joined(pieces), options) &&
        seen == checker.parse(single_characters(pieces), options))
      continue;
    std::cerr << "input " << i << " of seed " << seed << ": "
              << (seen.problem.empty() ? "cuts make a difference" : seen.problem) << "\n";
    for (const Piece& piece : pieces)
      std::cerr << (piece.id == kText ? "text " : "tag ") << Json(piece.text).dump() << "\n";
    return 1;
  }
  std::cout << num_inputs << " inputs, all as they must be\n";
  return 0;
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: fuzz_output_parser NUM_INPUTS [SEED]\n";
    return 2;
  }
  return gale::run(std::atol(argv[1]), argc == 3 ? static_cast<uint64_t>(std::atoll(argv[2])) : 1);
}
