#include "tokenizer/deepseek_scanner.h"

#include "tokenizer/cursor.h"

namespace gale {
namespace {

constexpr int kMaxDigits = 3;   // in one piece

// The classes of one kind of segment.
struct Kind {
  CharClass other, letter, mark, sign;
};
constexpr Kind kPlain = {CharClass::kOther, CharClass::kLetter, CharClass::kMark, CharClass::kSign};
constexpr Kind kCjk = {CharClass::kCjkOther, CharClass::kCjkLetter, CharClass::kCjkMark, CharClass::kCjkSign};

bool is_ascii_letter(const Cursor& at) {
  return !at.at_end() &&
         ((*at.position() >= 'a' && *at.position() <= 'z') || (*at.position() >= 'A' && *at.position() <= 'Z'));
}

// Where a segment of other text ends: before a number, before Chinese and Japanese, with the text.
bool is_end_of_plain(const Cursor& at) {
  return at.at_end() || at.char_class() == CharClass::kNumber || at.char_class() >= CharClass::kCjkOther;
}

bool is_word(const Cursor& at, const Kind& kind) { return at.is(kind.letter) || at.is(kind.mark); }

void skip_word(Cursor& cursor, const Kind& kind) {
  while (is_word(cursor, kind)) cursor.advance();
}

// What no alternative matches: others, but for one before a word, which belongs to that word.
void scan_others(Cursor& cursor, const Kind& kind) {
  Cursor last = cursor;
  int num_others = 0;
  while (cursor.is(kind.other)) {
    last = cursor;
    cursor.advance();
    ++num_others;
  }
  if (!is_word(cursor, kind)) return;
  if (num_others > 1) {
    cursor = last;
  } else {
    skip_word(cursor, kind);
  }
}

void scan_signs(Cursor& cursor, const Kind& kind) {
  const bool is_ascii_sign = static_cast<unsigned char>(*cursor.position()) < 0x80;
  if (is_ascii_sign) {
    Cursor next = cursor;
    next.advance();
    if (is_ascii_letter(next)) {
      while (is_ascii_letter(next)) next.advance();
      cursor = next;
      return;
    }
  }
  cursor.skip(kind.sign);
  if (kind.sign == CharClass::kSign) cursor.skip(CharClass::kNewline);  // a line break ends a segment of the other kind
}

void scan_piece(Cursor& cursor) {
  if (cursor.is(CharClass::kNumber)) {
    for (int i = 0; i < kMaxDigits && cursor.is(CharClass::kNumber); ++i) cursor.advance();
    return;
  }
  const Kind& kind = cursor.char_class() >= CharClass::kCjkOther ? kCjk : kPlain;
  if (is_word(cursor, kind)) return skip_word(cursor, kind);
  if (cursor.is(kind.sign)) return scan_signs(cursor, kind);
  if (cursor.is(kind.other)) return scan_others(cursor, kind);
  if (cursor.is(CharClass::kSpace)) {   // one blank goes with the word or, if it is a space, the signs after it
    Cursor next = cursor;
    next.advance();
    const bool takes_signs = cursor.is(' ') && next.is(kind.sign);
    if (is_word(next, kind) || takes_signs) {
      if (takes_signs) {
        next.skip(kind.sign);
        next.skip(CharClass::kNewline);
      } else {
        skip_word(next, kind);
      }
      cursor = next;
      return;
    }
  }
  scan_blanks(cursor, is_end_of_plain);
}

}  // namespace

void DeepSeekScanner::split(std::string_view text, std::vector<size_t>& ends) const {
  Cursor cursor(text, classes_);
  while (!cursor.at_end()) {
    scan_piece(cursor);
    ends.push_back(cursor.position() - text.data());
  }
}

}  // namespace gale
