#include "tokenizer/scanner.h"

#include "tokenizer/cursor.h"

namespace gale {
namespace {

// The length of 's, 't, 're, 've, 'm, 'll or 'd in any case at the start of the text, which begins with '; else 0.
// U+017F (two bytes) is an s in some case.
size_t contraction_length(std::string_view text) {
  const auto lower = [&](size_t i) { return i < text.size() ? static_cast<char>(text[i] | 0x20) : '\0'; };
  const char first = lower(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (text.substr(1, 2) == "\u017F") return 3;
  const char second = lower(2);
  const bool is_pair =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return is_pair ? 3 : 0;
}

void scan_piece(Cursor& cursor, const char* end, int max_digits) {
  if (cursor.is('\'')) {
    size_t length = contraction_length({cursor.position(), static_cast<size_t>(end - cursor.position())});
    const char* stop = cursor.position() + length;
    while (cursor.position() < stop) cursor.advance();
    if (length > 0) return;
  }
  const CharClass first = cursor.char_class();
  if (first == CharClass::kLetter) return cursor.skip(CharClass::kLetter);
  if (first == CharClass::kNumber) {
    for (int i = 0; i < max_digits && cursor.is(CharClass::kNumber); ++i) cursor.advance();
    return;
  }
  if (first != CharClass::kNewline) {   // one sign or blank goes with the letters after it
    Cursor next = cursor;
    next.advance();
    const bool takes_signs = first == CharClass::kOther || (cursor.is(' ') && next.is(CharClass::kOther));
    if (next.is(CharClass::kLetter)) {
      next.skip(CharClass::kLetter);
    } else if (takes_signs) {
      next.skip(CharClass::kOther);
      next.skip(CharClass::kNewline);
    } else {
      return scan_blanks(cursor, [](const Cursor& at) { return at.at_end(); });
    }
    cursor = next;
    return;
  }
  scan_blanks(cursor, [](const Cursor& at) { return at.at_end(); });
}

}  // namespace

void Scanner::split(std::string_view text, std::vector<size_t>& ends) const {
  Cursor cursor(text, classes_);
  const char* end = text.data() + text.size();
  while (!cursor.at_end()) {
    scan_piece(cursor, end, max_digits_);
    ends.push_back(cursor.position() - text.data());
  }
}

}  // namespace gale
