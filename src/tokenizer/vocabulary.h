#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"

namespace gale {

// Ids and the bytes they stand for, both ways. Ids may have gaps.
class Vocabulary {
 public:
  // False, and nothing changes, if the id has other bytes already. An id that gets the same bytes again stays as it is.
  [[nodiscard]] bool add(TokenId id, std::string_view bytes);

  // Makes the id findable by its bytes. False if another id is found by them. The id must have been added.
  [[nodiscard]] bool index(TokenId id);

  // The indexed id of exactly these bytes.
  [[nodiscard]] std::optional<TokenId> find(std::string_view bytes) const;

  // Empty for ids that were not added.
  [[nodiscard]] std::string_view bytes(TokenId id) const {
    if (static_cast<size_t>(id) >= extents_.size()) return {};   // a negative id is a huge one
    const Extent extent = extents_[id];
    return {arena_.data() + extent.offset, extent.length};
  }

  // 1 + the largest added id.
  [[nodiscard]] int size() const { return static_cast<int>(extents_.size()); }

 private:
  struct Extent {
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  [[nodiscard]] size_t slot_of(std::string_view bytes) const;   // where it is, or the empty slot where it would go
  void grow();

  std::string arena_;
  std::vector<Extent> extents_;
  std::vector<TokenId> slots_;   // open addressing, a power of two long, at most half full; -1: empty
  size_t num_indexed_ = 0;
};

}  // namespace gale
