#include "kv_cache/prefix_cache.h"

#include <fmt/format.h>

#include "base/check.h"

namespace gale {

std::optional<BlockId> PrefixCache::find(const BlockHash& hash) const {
  const auto found = block_of_.find(hash);
  return found == block_of_.end() ? std::nullopt : std::optional(found->second);
}

bool PrefixCache::insert(const BlockHash& hash, BlockId block) {
  CHECK(!holds(block), "block {} already has content", block.value);
  if (!block_of_.emplace(hash, block).second) return false;
  hash_of_.emplace(block, hash);
  return true;
}

void PrefixCache::erase(BlockId block) {
  const auto found = hash_of_.find(block);
  CHECK(found != hash_of_.end(), "block {} holds no prefix", block.value);
  block_of_.erase(found->second);
  hash_of_.erase(found);
}

std::vector<BlockId> PrefixCache::blocks() const {
  std::vector<BlockId> out;
  out.reserve(hash_of_.size());
  for (const auto& [block, hash] : hash_of_) out.push_back(block);
  return out;
}

std::string PrefixCache::check_integrity() const {
  if (block_of_.size() != hash_of_.size()) {
    return fmt::format("{} hashes for {} blocks", block_of_.size(), hash_of_.size());
  }
  for (const auto& [hash, block] : block_of_) {
    const auto back = hash_of_.find(block);
    if (back == hash_of_.end() || back->second != hash)
      return fmt::format("block {} is found under a wrong hash", block.value);
  }
  return {};
}

}  // namespace gale
