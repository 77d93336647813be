#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kv_cache/block_hash.h"
#include "kv_cache/block_pool.h"

namespace gale {

// Which block holds which content: a map in both directions. Does not own blocks; the pool decides how long they live.
class PrefixCache {
 public:
  [[nodiscard]] std::optional<BlockId> find(const BlockHash& hash) const;
  // False, and nothing changes, if another block already holds this content.
  [[nodiscard]] bool insert(const BlockHash& hash, BlockId block);
  void erase(BlockId block);
  [[nodiscard]] bool holds(BlockId block) const { return hash_of_.contains(block); }
  [[nodiscard]] size_t size() const { return hash_of_.size(); }
  [[nodiscard]] std::vector<BlockId> blocks() const;
  [[nodiscard]] std::string check_integrity() const;

 private:
  std::unordered_map<BlockHash, BlockId> block_of_;
  std::unordered_map<BlockId, BlockHash> hash_of_;
};

}  // namespace gale
