#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace gale {
namespace {

constexpr int kNumCodePoints = 256 + 68;   // 188 bytes stand for themselves, the other 68 follow from U+0100
using ByteOfCodePoint = std::array<int16_t, kNumCodePoints>;   // -1: not in the alphabet

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr ByteOfCodePoint make_alphabet() {
  ByteOfCodePoint table{};
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    table[byte] = -1;
    table[stands_for_itself(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return table;
}

constexpr ByteOfCodePoint kAlphabet = make_alphabet();

}  // namespace

std::optional<std::string> bytes_from_alphabet(std::string_view written) {
  std::string bytes;
  bytes.reserve(written.size());
  while (!written.empty()) {
    const CodePoint code_point = decode_utf8(written);
    if (code_point.value >= kNumCodePoints || kAlphabet[code_point.value] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet[code_point.value]);
    written.remove_prefix(code_point.length);
  }
  return bytes;
}

}  // namespace gale
