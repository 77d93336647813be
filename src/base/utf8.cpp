#include "base/utf8.h"

#include "base/check.h"

namespace gale {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct LeadByte {
  int length;         // bytes of the sequence; 0: no sequence starts with this byte
  unsigned char low;  // bounds of the second byte (Unicode table 3-7: excludes overlong forms and surrogates)
  unsigned char high;
};

LeadByte classify(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

struct Scan {
  int valid_bytes;    // leading bytes that belong to a (possibly unfinished) sequence; at least 1
  bool is_complete;
  bool is_truncated;  // the text ended before the sequence did
};

Scan scan_sequence(std::string_view text) {
  const LeadByte lead = classify(static_cast<unsigned char>(text[0]));
  if (lead.length == 0) return {1, false, false};
  int i = 1;
  for (; i < lead.length; ++i) {
    if (static_cast<size_t>(i) == text.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(text[i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {i, false, false};
  }
  return {i, true, false};
}

}  // namespace

CodePoint decode_utf8(std::string_view text) {
  CHECK(!text.empty());
  const Scan scan = scan_sequence(text);
  if (!scan.is_complete) return {kInvalidCodePoint, 1};
  const auto first = static_cast<unsigned char>(text[0]);
  if (scan.valid_bytes == 1) return {first, 1};
  uint32_t value = first & (0x7F >> scan.valid_bytes);
  for (int i = 1; i < scan.valid_bytes; ++i) value = value << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  return {value, scan.valid_bytes};
}

void append_utf8(std::string& out, uint32_t code_point) {
  CHECK(code_point <= 0x10FFFF, "code point {:#x}", code_point);
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    out += static_cast<char>(0x80 | (code_point >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Scan scan = scan_sequence(text);
    if (!scan.is_complete) return false;
    text.remove_prefix(scan.valid_bytes);
  }
  return true;
}

size_t complete_utf8_prefix(std::string_view text) {
  const size_t from = text.size() > 3 ? text.size() - 3 : 0;   // an unfinished sequence has at most 3 bytes
  for (size_t i = from; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0) == 0x80) continue;   // a continuation byte starts nothing
    if (scan_sequence(text.substr(i)).is_truncated) return i;
  }
  return text.size();
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Scan scan = scan_sequence(text);
    if (scan.is_complete) {
      out += text.substr(0, scan.valid_bytes);
    } else {
      out += kReplacement;
    }
    text.remove_prefix(scan.valid_bytes);
  }
  return out;
}

}  // namespace gale
