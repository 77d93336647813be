// Reads JSON lines on stdin, writes one JSON line for each: for the comparison with other tokenizers.
//   tokenize TOKENIZER_JSON
//   {"text": "..."}                          -> {"ids": [...], "text": "decoded"}          added tokens are matched
//   {"segments": [["...", true], ...]}       -> the same; true: template text, false: plain text

#include <iostream>
#include <string>

#include "json_lines.h"
#include "base/json.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

std::vector<TextSegment> segments_of(const Json& request) {
  if (request.contains("text")) return {{request["text"].get<std::string>(), AddedTokens::kMatch}};
  std::vector<TextSegment> segments;
  for (const Json& entry : request["segments"])
    segments.push_back({entry[0].get<std::string>(), entry[1].get<bool>() ? AddedTokens::kMatch : AddedTokens::kPlain});
  return segments;
}

std::string decode_in_pieces(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Detokenizer detokenizer(tokenizer, true);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.append(id);
  return text + detokenizer.finish();
}

int run(const std::string& path) {
  const auto tokenizer = Tokenizer::load(path);
  if (!tokenizer) {
    std::cerr << tokenizer.error().message << "\n";
    return 3;
  }
  return answer_json_lines([&](const Json& request) {
    const std::vector<TokenId> ids = (*tokenizer)->encode(segments_of(request));
    return Json{{"ids", ids}, {"text", decode_in_pieces(**tokenizer, ids)}};
  });
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize TOKENIZER_JSON\n";
    return 2;
  }
  return gale::run(argv[1]);
}
