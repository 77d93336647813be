#include "server/key_ring.h"

#include <openssl/sha.h>

#include <algorithm>

namespace gale {
namespace {

bool equal(const KeyHash& a, const KeyHash& b) {
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

KeyHash hash_key(std::string_view key) {
  KeyHash hash;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), hash.data());
  return hash;
}

Result<std::vector<KeyHash>> parse_key_file(std::string_view text) {
  std::vector<KeyHash> keys;
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    KeyHash key{};
    bool is_hash = line.size() >= 2 * key.size() && (line.size() == 2 * key.size() || line[2 * key.size()] == ' ');
    for (size_t i = 0; is_hash && i < key.size(); ++i) {
      const int high = hex_value(line[2 * i]);
      const int low = hex_value(line[2 * i + 1]);
      is_hash = high >= 0 && low >= 0;
      key[i] = static_cast<uint8_t>((high << 4) | low);
    }
    if (!is_hash) {
      return fail(ErrorCode::kInvalidArgument,
                  "line {} of the key file: expected 64 hex digits (SHA-256 of a key) and perhaps a name", number);
    }
    keys.push_back(key);
  }
  return keys;
}

KeyRing::KeyRing(const std::vector<std::string>& keys, bool has_file) : has_file_(has_file) {
  for (const std::string& key : keys) {
    if (!key.empty()) fixed_.push_back(hash_key(key));
  }
}

void KeyRing::set_file_keys(std::vector<KeyHash> keys) {
  from_file_.with([&](auto& held) { held = std::move(keys); });
}

bool KeyRing::is_empty() const { return fixed_.empty() && !has_file_; }

bool KeyRing::opens(std::string_view key) const {
  if (key.empty()) return false;
  const KeyHash hash = hash_key(key);
  bool is_valid = false;
  for (const KeyHash& held : fixed_) is_valid |= equal(held, hash);
  from_file_.with([&](const auto& keys) {
    for (const KeyHash& held : keys) is_valid |= equal(held, hash);
  });
  return is_valid;
}

}  // namespace gale
