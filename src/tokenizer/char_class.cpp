#include "tokenizer/char_class.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"
#include "tokenizer/regex_splitter.h"

namespace gale {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800;
constexpr uint32_t kLastSurrogate = 0xDFFF;
constexpr std::pair<uint32_t, uint32_t> kCjkRanges[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};

CharClass within_cjk(CharClass c) {
  switch (c) {
    case CharClass::kLetter: return CharClass::kCjkLetter;
    case CharClass::kMark: return CharClass::kCjkMark;
    case CharClass::kSign: return CharClass::kCjkSign;
    case CharClass::kOther: return CharClass::kCjkOther;
    case CharClass::kNumber:
    case CharClass::kSpace:
    case CharClass::kNewline:
    case CharClass::kCjkOther:
    case CharClass::kCjkLetter:
    case CharClass::kCjkMark:
    case CharClass::kCjkSign: break;
  }
  CHECK(false);   // neither numbers nor blanks are among them
}

// Every code point that UTF-8 can write, in order.
std::string all_code_points(uint32_t num_code_points) {
  std::string text;
  text.reserve(size_t{num_code_points} * 4);
  for (uint32_t c = 0; c < num_code_points; ++c)
    if (c < kFirstSurrogate || c > kLastSurrogate) append_utf8(text, c);
  return text;
}

// Sets the class of what `set` (the inside of brackets) contains.
Status classify(std::string_view set, CharClass value, const std::string& text, std::vector<CharClass>& classes) {
  GALE_ASSIGN(const auto splitter, RegexSplitter::compile(fmt::format("[{}]+", set)));
  std::vector<size_t> ends;
  splitter->split(text, ends);
  bool is_member = false;   // pieces alternate between members and others; U+0000 is in none of the sets
  size_t begin = 0;
  uint32_t code_point = 0;
  for (const size_t end : ends) {
    for (std::string_view piece(text.data() + begin, end - begin); !piece.empty(); ++code_point) {
      if (code_point == kFirstSurrogate) code_point = kLastSurrogate + 1;
      piece.remove_prefix(decode_utf8(piece).length);
      if (is_member) classes[code_point] = value;
    }
    is_member = !is_member;
    begin = end;
  }
  return {};
}

}  // namespace

Result<CharClassTable> CharClassTable::make() {
  const std::string text = all_code_points(kNumCodePoints);
  std::vector<CharClass> classes(kNumCodePoints, CharClass::kOther);
  GALE_TRY(classify(R"(\p{L})", CharClass::kLetter, text, classes));
  GALE_TRY(classify(R"(\p{N})", CharClass::kNumber, text, classes));
  GALE_TRY(classify(R"(\s)", CharClass::kSpace, text, classes));
  classes['\r'] = classes['\n'] = CharClass::kNewline;
  return CharClassTable(std::move(classes));
}

Result<CharClassTable> CharClassTable::make_finer() {
  GALE_ASSIGN(CharClassTable table, make());
  const std::string text = all_code_points(kNumCodePoints);
  GALE_TRY(classify(R"(\p{M})", CharClass::kMark, text, table.classes_));
  GALE_TRY(classify(R"(\p{P}\p{S})", CharClass::kSign, text, table.classes_));
  for (const auto& [first, last] : kCjkRanges)
    for (uint32_t c = first; c <= last; ++c) table.classes_[c] = within_cjk(table.classes_[c]);
  return table;
}

}  // namespace gale
