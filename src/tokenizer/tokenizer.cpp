#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/log.h"
#include "base/utf8.h"
#include "tokenizer/added_token_matcher.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/merges.h"
#include "tokenizer/normalize.h"
#include "tokenizer/splitter.h"
#include "tokenizer/tokenizer_file.h"
#include "tokenizer/vocabulary.h"

namespace gale {
namespace {

struct Range {
  size_t begin;
  size_t end;
};

// A text and where added tokens may be matched in it: within one of `matchable` (in order, not touching each other).
struct MarkedText {
  std::string text;
  std::vector<Range> matchable;

  void append(std::string_view more, AddedTokens added_tokens) {
    const size_t begin = text.size();
    text += more;
    if (added_tokens == AddedTokens::kPlain || more.empty()) return;
    if (!matchable.empty() && matchable.back().end == begin) {
      matchable.back().end = text.size();
    } else {
      matchable.push_back({begin, text.size()});
    }
  }
};

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// Where the blanks that end at `position` begin.
size_t blanks_before(std::string_view text, size_t position) {
  while (position > 0) {
    size_t begin = position - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_white_space(decode_utf8(text.substr(begin)).value)) break;
    position = begin;
  }
  return position;
}

// Where the blanks that begin at `position` end.
size_t blanks_after(std::string_view text, size_t position) {
  while (position < text.size()) {
    const CodePoint code_point = decode_utf8(text.substr(position));
    if (!is_white_space(code_point.value)) break;
    position += code_point.length;
  }
  return position;
}

}  // namespace

struct Tokenizer::Parts {
  Vocabulary vocabulary;               // the model's tokens are findable by their bytes, added ones are not
  std::optional<MergeTable> merges;
  std::array<TokenId, 256> byte_ids{};
  std::vector<bool> is_taken_whole;    // by id: a piece with these bytes is this token, without merging
  std::vector<AddedToken> added_tokens;                  // sorted by id
  AddedTokenMatcher raw_matcher, normalized_matcher;
  bool has_normalized_tokens = false;
  NormalForm normal_form = NormalForm::kNone;
  std::vector<std::unique_ptr<Splitter>> splitters;

  // Building. Errors lack the path.
  Status build(TokenizerFile file);
  Status add_vocabulary(const TokenizerFile& file);
  Status add_merges(const TokenizerFile& file);
  Status add_added_tokens(std::vector<AddedToken> tokens);
  void find_whole_pieces(bool ignore_merges);

  // Encoding: raw added tokens, then per stretch between them the normal form, normalised added tokens, pieces, merges.
  struct Output;
  void encode(const MarkedText& input, Output& output) const;
  void encode_stretch(const MarkedText& input, Range range, Output& output) const;
  void encode_plain(std::string_view text, Output& output) const;
  void encode_piece(std::string_view piece, Output& output) const;
  template <class Between>
  void match_added(const AddedTokenMatcher& matcher, const MarkedText& input, Output& output,
                   const Between& between) const;

  const AddedToken* find_added(TokenId id) const {
    const auto at = std::lower_bound(added_tokens.begin(), added_tokens.end(), id,
                                     [](const AddedToken& token, TokenId wanted) { return token.id < wanted; });
    return at != added_tokens.end() && at->id == id ? &*at : nullptr;
  }
};

// The ids so far, and room that is used again from piece to piece.
struct Tokenizer::Parts::Output {
  std::vector<TokenId> ids;
  std::vector<size_t> ends, finer_ends;
  std::vector<TokenId> symbols;
};

Status Tokenizer::Parts::add_vocabulary(const TokenizerFile& file) {
  for (const auto& [written, id] : file.vocabulary) {
    if (written.empty()) return fail(ErrorCode::kCorrupt, "model.vocab: an empty token (id {})", id);
    const std::optional<std::string> bytes = bytes_from_alphabet(written);   // else a control token: as written
    if (!vocabulary.add(id, bytes ? *bytes : written) || (bytes && !vocabulary.index(id)))
      return fail(ErrorCode::kCorrupt, "model.vocab: \"{}\" (id {}): the id or the token occurs twice", written, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    const std::optional<TokenId> id = vocabulary.find({&text, 1});
    if (!id) return fail(ErrorCode::kCorrupt, "model.vocab: no token for the byte {:#04x}", byte);
    byte_ids[byte] = *id;
  }
  return {};
}

Status Tokenizer::Parts::add_merges(const TokenizerFile& file) {
  merges.emplace(file.merges.size());
  for (size_t i = 0; i < file.merges.size(); ++i) {
    const auto& [left, right] = file.merges[i];
    TokenId ids[3];
    const std::string* const written[3] = {&left, &right, nullptr};
    const std::string both = left + right;
    for (int part = 0; part < 3; ++part) {
      const std::string& token = written[part] ? *written[part] : both;
      const std::optional<std::string> bytes = bytes_from_alphabet(token);
      const std::optional<TokenId> id = bytes ? vocabulary.find(*bytes) : std::nullopt;
      if (!id) return fail(ErrorCode::kCorrupt, "model.merges[{}]: \"{}\" is not in model.vocab", i, token);
      ids[part] = *id;
    }
    merges->add(ids[0], ids[1], {static_cast<int32_t>(i), ids[2]});
  }
  return {};
}

Status Tokenizer::Parts::add_added_tokens(std::vector<AddedToken> tokens) {
  added_tokens = std::move(tokens);
  std::stable_sort(added_tokens.begin(), added_tokens.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (size_t i = 0; i < added_tokens.size(); ++i) {
    AddedToken& token = added_tokens[i];
    if (i > 0 && added_tokens[i - 1].id == token.id)
      return fail(ErrorCode::kCorrupt, "added_tokens: the id {} occurs twice", token.id);
    const std::string bytes = bytes_from_alphabet(token.text).value_or(token.text);   // how the decoder writes it
    if (!vocabulary.add(token.id, bytes) || vocabulary.find(bytes).value_or(token.id) != token.id)
      return fail(ErrorCode::kCorrupt, "added_tokens: \"{}\" (id {}): model.vocab says otherwise", token.text,
                  token.id);
    const bool in_normalized = token.is_normalized && normal_form != NormalForm::kNone;
    has_normalized_tokens = has_normalized_tokens || token.is_normalized;
    AddedTokenMatcher& matcher = token.is_normalized ? normalized_matcher : raw_matcher;
    matcher.add(in_normalized ? normalize_nfc(token.text) : token.text, token.id);
  }
  std::vector<std::string_view> texts;
  texts.reserve(added_tokens.size());
  for (const AddedToken& token : added_tokens) texts.push_back(token.text);
  std::sort(texts.begin(), texts.end());
  const auto twin = std::adjacent_find(texts.begin(), texts.end());
  if (twin != texts.end()) return fail(ErrorCode::kCorrupt, "added_tokens: \"{}\" occurs twice", *twin);
  return {};
}

// Merging the bytes of a token usually gives that token. Knowing for which it does saves the merging later.
void Tokenizer::Parts::find_whole_pieces(bool ignore_merges) {
  is_taken_whole.assign(vocabulary.size(), ignore_merges);
  if (ignore_merges) return;
  std::vector<TokenId> symbols;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string_view bytes = vocabulary.bytes(id);
    if (bytes.empty() || vocabulary.find(bytes) != id) continue;
    symbols.clear();
    for (const char byte : bytes) symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
    merges->apply(symbols);
    is_taken_whole[id] = symbols.size() == 1 && symbols[0] == id;
  }
}

Status Tokenizer::Parts::build(TokenizerFile file) {
  normal_form = file.normal_form;
  GALE_TRY(add_vocabulary(file));
  GALE_TRY(add_merges(file));
  find_whole_pieces(file.ignore_merges);
  GALE_TRY(add_added_tokens(std::move(file.added_tokens)));
  auto made = make_splitters(file.split_patterns);
  if (!made) return fail(ErrorCode::kCorrupt, "pre_tokenizer: pattern: {}", made.error().message);
  splitters = *std::move(made);
  return {};
}

// Puts the ids of added tokens into the output and calls `between` with each range of text around them.
template <class Between>
void Tokenizer::Parts::match_added(const AddedTokenMatcher& matcher, const MarkedText& input, Output& output,
                                   const Between& between) const {
  const std::string_view text = input.text;
  size_t done = 0;
  for (const Range& range : input.matchable) {
    size_t from = range.begin;
    while (const auto match = matcher.find(text, from, range.end)) {
      from = match->end;
      const AddedToken& token = *find_added(match->id);
      const size_t begin = std::max(token.strips_left ? blanks_before(text, match->begin) : match->begin, done);
      if (done < begin) between(Range{done, begin});
      output.ids.push_back(token.id);
      done = std::max(done, token.strips_right ? blanks_after(text, match->end) : match->end);
    }
  }
  if (done < text.size()) between(Range{done, text.size()});
}

void Tokenizer::Parts::encode(const MarkedText& input, Output& output) const {
  match_added(raw_matcher, input, output, [&](Range range) { encode_stretch(input, range, output); });
}

void Tokenizer::Parts::encode_stretch(const MarkedText& input, Range range, Output& output) const {
  const std::string_view text = std::string_view(input.text).substr(range.begin, range.end - range.begin);
  const bool is_changed = normal_form == NormalForm::kNfc && !is_ascii(text);
  if (!has_normalized_tokens) return encode_plain(is_changed ? normalize_nfc(text) : text, output);

  MarkedText inner;
  size_t done = range.begin;
  const auto append = [&](size_t end, AddedTokens added_tokens) {
    end = std::clamp(end, done, range.end);
    const std::string_view part = std::string_view(input.text).substr(done, end - done);
    inner.append(is_changed ? normalize_nfc(part) : part, added_tokens);
    done = end;
  };
  for (const Range& matchable : input.matchable) {
    append(matchable.begin, AddedTokens::kPlain);
    append(matchable.end, AddedTokens::kMatch);
  }
  append(range.end, AddedTokens::kPlain);
  // Where characters compose across a border, it is lost, and nothing is matched: plain text must stay plain.
  if (is_changed)
    if (std::string whole = normalize_nfc(text); whole != inner.text) inner = {std::move(whole), {}};
  match_added(normalized_matcher, inner, output, [&](Range plain) {
    encode_plain(std::string_view(inner.text).substr(plain.begin, plain.end - plain.begin), output);
  });
}

void Tokenizer::Parts::encode_plain(std::string_view text, Output& output) const {
  output.ends.assign(1, text.size());
  for (const auto& splitter : splitters) {
    output.finer_ends.clear();
    size_t begin = 0;
    for (const size_t end : output.ends) {
      const size_t first = output.finer_ends.size();
      splitter->split(text.substr(begin, end - begin), output.finer_ends);
      for (size_t i = first; i < output.finer_ends.size(); ++i) output.finer_ends[i] += begin;
      begin = end;
    }
    output.ends.swap(output.finer_ends);
  }
  size_t begin = 0;
  for (const size_t end : output.ends) {
    encode_piece(text.substr(begin, end - begin), output);
    begin = end;
  }
}

void Tokenizer::Parts::encode_piece(std::string_view piece, Output& output) const {
  const std::optional<TokenId> whole = vocabulary.find(piece);
  if (whole && is_taken_whole[*whole]) {
    output.ids.push_back(*whole);
    return;
  }
  output.symbols.clear();
  for (const char byte : piece) output.symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
  merges->apply(output.symbols);
  output.ids.insert(output.ids.end(), output.symbols.begin(), output.symbols.end());
}

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path) {
  GALE_ASSIGN(TokenizerFile file, read_tokenizer_file(path));
  auto parts = std::make_unique<Parts>();
  if (const Status built = parts->build(std::move(file)); !built)
    return fail(built.error().code, "{}: {}", path, escape_control(built.error().message));   // it quotes tokens
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, AddedTokens added_tokens) const {
  const TextSegment segment{std::string(text), added_tokens};
  return encode(std::span(&segment, 1));
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSegment> segments) const {
  MarkedText input;
  for (const TextSegment& segment : segments) {
    if (is_valid_utf8(segment.text)) {
      input.append(segment.text, segment.added_tokens);
    } else {
      input.append(replace_invalid_utf8(segment.text), segment.added_tokens);
    }
  }
  Parts::Output output;
  output.ids.reserve(input.text.size() / 3 + 1);
  parts_->encode(input, output);
  return std::move(output.ids);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids)
    if (!skip_special_tokens || !is_special(id)) bytes += token_bytes(id);
  return replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(TokenId id) const { return parts_->vocabulary.bytes(id); }

bool Tokenizer::is_special(TokenId id) const {
  const AddedToken* token = parts_->find_added(id);
  return token != nullptr && token->is_special;
}

bool Tokenizer::is_added(TokenId id) const { return parts_->find_added(id) != nullptr; }

std::optional<TokenId> Tokenizer::find_added_token(std::string_view text) const {
  for (const AddedToken& token : parts_->added_tokens)
    if (token.text == text) return token.id;
  return std::nullopt;
}

int Tokenizer::vocab_size() const { return parts_->vocabulary.size(); }

}  // namespace gale
