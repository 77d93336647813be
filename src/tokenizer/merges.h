#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/token.h"

namespace gale {

struct Merge {
  int32_t rank;     // smaller merges first
  TokenId result;
};

// The merge rules of a BPE model: which two neighbouring tokens become one, and what goes first.
class MergeTable {
 public:
  explicit MergeTable(size_t num_merges);

  // Of two rules for one pair the later one stays.
  void add(TokenId left, TokenId right, Merge merge);

  // Null if the two do not merge.
  [[nodiscard]] const Merge* find(TokenId left, TokenId right) const;

  // Merges `ids` in place until no rule applies: always the pair of smallest rank, of equal ones the leftmost.
  // n log n in the number of ids.
  void apply(std::vector<TokenId>& ids) const;

 private:
  struct Slot {
    uint64_t pair;
    Merge merge;
  };
  [[nodiscard]] size_t slot_of(uint64_t pair) const;
  void apply_short(std::vector<TokenId>& ids) const;
  void apply_long(std::vector<TokenId>& ids) const;

  std::vector<Slot> slots_;   // open addressing, a power of two long
};

}  // namespace gale
