#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"
#include "kv_cache/block_pool.h"

namespace gale {

// What a device would hold in the blocks of the KV cache: of each place which token stands there behind which
// others, as one number. A step that attends to a place with another content would compute nonsense, and say nothing.
class FakeMemory {
 public:
  FakeMemory(int64_t num_blocks, int block_size)
      : block_size_(static_cast<size_t>(block_size)), places_(static_cast<size_t>(num_blocks) * block_size_) {}

  // Writes tokens first … tokens.size() - 1; they belong to a sequence of this salt.
  void write(std::span<const BlockId> blocks, std::string_view salt, std::span<const TokenId> tokens, size_t first) {
    uint64_t state = begin(salt);
    for (size_t i = 0; i < tokens.size(); ++i) {
      state = mix(state, tokens[i]);
      if (i >= first) place(blocks, i) = state;
    }
  }
  // The first place below `end` that does not hold what it should; `end` if all do.
  [[nodiscard]] size_t first_wrong(std::span<const BlockId> blocks, std::string_view salt,
                                   std::span<const TokenId> tokens, size_t end) {
    uint64_t state = begin(salt);
    for (size_t i = 0; i < end; ++i) {
      state = mix(state, tokens[i]);
      if (place(blocks, i) != state) return i;
    }
    return end;
  }
  // What a step leaves whose sequence is gone, or whose numbers were none.
  void spoil(std::span<const BlockId> blocks, size_t first, size_t end) {
    for (size_t i = first; i < end; ++i) place(blocks, i) = kSpoilt;
  }

 private:
  static constexpr uint64_t kSpoilt = 0;
  static uint64_t mix(uint64_t state, TokenId token) {
    state = (state ^ (static_cast<uint64_t>(token) + 1)) * 0x9E3779B97F4A7C15ULL;
    return state ^ (state >> 29);
  }
  static uint64_t begin(std::string_view salt) {
    uint64_t state = 0x51ED270B;
    for (const char letter : salt) state = mix(state, letter);
    return state;
  }
  uint64_t& place(std::span<const BlockId> blocks, size_t index) {
    return places_[static_cast<size_t>(blocks[index / block_size_].value) * block_size_ + index % block_size_];
  }

  const size_t block_size_;
  std::vector<uint64_t> places_;
};

}  // namespace gale
