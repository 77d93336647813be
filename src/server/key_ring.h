#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/guarded.h"
#include "base/result.h"

namespace gale {

// A key as it is kept: nobody can read it back.
using KeyHash = std::array<uint8_t, 32>;         // SHA-256
[[nodiscard]] KeyHash hash_key(std::string_view key);

// The lines of --api-key-file: 64 hex digits (SHA-256 of the key), then a name if there is one. Empty lines and those
// that begin with # are skipped; the error names the line.
[[nodiscard]] Result<std::vector<KeyHash>> parse_key_file(std::string_view text);

// Which keys open. Thread-safe; keys can be changed while requests come.
class KeyRing {
 public:
  // `has_file`: an empty file locks everybody out, no file asks for nothing.
  KeyRing(const std::vector<std::string>& keys, bool has_file);

  // The file's keys, which come on top of those that were given at the start.
  void set_file_keys(std::vector<KeyHash> keys);
  // Nothing is asked for.
  [[nodiscard]] bool is_empty() const;
  // Compared by hash, so that time tells nothing of the key.
  [[nodiscard]] bool opens(std::string_view key) const;

 private:
  std::vector<KeyHash> fixed_;
  Guarded<std::vector<KeyHash>> from_file_;
  const bool has_file_;
};

}  // namespace gale
