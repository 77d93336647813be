#include "tokenizer/scanner.h"

namespace gale {
namespace {

// Walks over valid UTF-8.
class Cursor {
 public:
  Cursor(std::string_view text, const CharClassTable& classes)
      : at_(text.data()), end_(text.data() + text.size()), classes_(&classes) { read(); }

  [[nodiscard]] bool at_end() const { return at_ == end_; }
  [[nodiscard]] const char* position() const { return at_; }
  [[nodiscard]] CharClass char_class() const { return class_; }   // kSpace at the end, which belongs to no run
  [[nodiscard]] bool is(char c) const { return at_ != end_ && *at_ == c; }
  [[nodiscard]] bool is(CharClass c) const { return at_ != end_ && class_ == c; }

  void advance() {
    at_ += length_;
    read();
  }
  void skip(CharClass c) {
    while (is(c)) advance();
  }

 private:
  // Decodes without checking: validity is a precondition, and base's checking decoder is slower.
  void read() {
    class_ = CharClass::kSpace;
    if (at_ == end_) return;
    const auto byte = [this](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(at_[i])); };
    const uint32_t lead = byte(0);
    uint32_t code_point = lead;
    length_ = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length_ > 1) {
      code_point = lead & (0x7F >> length_);
      for (int i = 1; i < length_; ++i) code_point = code_point << 6 | (byte(i) & 0x3F);
    }
    class_ = (*classes_)[code_point];
  }

  const char* at_;
  const char* end_;
  const CharClassTable* classes_;
  CharClass class_ = CharClass::kSpace;
  int length_ = 0;
};

// The length of 's, 't, 're, 've, 'm, 'll or 'd in any case at the start of the text, which begins with '; else 0.
// U+017F (two bytes) is an s in some case.
size_t contraction_length(std::string_view text) {
  const auto lower = [&](size_t i) { return i < text.size() ? static_cast<char>(text[i] | 0x20) : '\0'; };
  const char first = lower(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (text.substr(1, 2) == "\u017F") return 3;
  const char second = lower(2);
  const bool is_pair = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return is_pair ? 3 : 0;
}

// Blanks: up to the last newline if there is one; else all of them at the end of the text, all but the last one before
// other text, which may take that one to itself; a single one alone.
void scan_blanks(Cursor& cursor) {
  Cursor before_last = cursor;
  Cursor after_newline = cursor;
  bool has_newline = false;
  int num_blanks = 0;
  while (cursor.is(CharClass::kSpace) || cursor.is(CharClass::kNewline)) {
    const bool is_newline = cursor.is(CharClass::kNewline);
    before_last = cursor;
    cursor.advance();
    ++num_blanks;
    if (is_newline) {
      has_newline = true;
      after_newline = cursor;
    }
  }
  if (has_newline) {
    cursor = after_newline;
  } else if (!cursor.at_end() && num_blanks > 1) {
    cursor = before_last;
  }
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
      return scan_blanks(cursor);
    }
    cursor = next;
    return;
  }
  scan_blanks(cursor);
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
