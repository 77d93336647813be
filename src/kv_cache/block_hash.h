#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/token.h"

namespace gale {

// Names the content of a block and of everything before it.
struct BlockHash {
  std::array<uint8_t, 32> bytes{};
  bool operator==(const BlockHash&) const = default;
};

// Chained SHA-256: root over salt and extra keys, then each full block over its parent and its tokens. Two sequences
// share a block exactly if salt, extra keys and all tokens up to the block's end are equal; other tenants' salts make
// other chains.
class BlockHasher {
 public:
  BlockHasher();
  ~BlockHasher();
  BlockHasher(BlockHasher&&) noexcept;
  BlockHasher& operator=(BlockHasher&&) noexcept;

  [[nodiscard]] BlockHash root(std::string_view salt, std::span<const std::string> extra_keys);
  [[nodiscard]] BlockHash next(const BlockHash& parent, std::span<const TokenId> tokens);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gale

template <>
struct std::hash<gale::BlockHash> {
  size_t operator()(const gale::BlockHash& hash) const noexcept {   // any eight bytes of a SHA-256 are as good as all
    size_t value = 0;
    std::memcpy(&value, hash.bytes.data(), sizeof value);
    return value;
  }
};
