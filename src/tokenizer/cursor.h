#pragma once

#include <cstdint>
#include <string_view>

#include "tokenizer/char_class.h"

namespace gale {

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

// \s*[\r\n]+|\s+(?!\S)|\s+ from a blank on: up to the last newline if there is one; else all blanks where the text ends
// (is_end), all but the last one before other text, which may take that one to itself; a single one alone.
template <class IsEnd>
void scan_blanks(Cursor& cursor, const IsEnd& is_end) {
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
  } else if (!is_end(cursor) && num_blanks > 1) {
    cursor = before_last;
  }
}

}  // namespace gale
