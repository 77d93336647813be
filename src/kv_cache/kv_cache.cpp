#include "kv_cache/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace gale {

KvCache::KvCache(const Options& options) : options_(options), pool_(options.num_blocks) {
  CHECK(options.block_size > 0 && options.num_blocks > 0, "{} blocks of {}", options.num_blocks, options.block_size);
}

BlockTable KvCache::make_table(std::string_view salt, std::span<const std::string> extra_keys) {
  BlockTable table;
  if (options_.enable_prefix_caching) table.root = hasher_.root(salt, extra_keys);
  return table;
}

const BlockHash& KvCache::hash_of(BlockTable& table, std::span<const TokenId> tokens, size_t index) {
  const auto size = static_cast<size_t>(block_size());
  while (table.hashes.size() <= index) {
    const size_t block = table.hashes.size();
    const BlockHash& parent = block == 0 ? table.root : table.hashes.back();
    table.hashes.push_back(hasher_.next(parent, tokens.subspan(block * size, size)));
  }
  return table.hashes[index];
}

int KvCache::match_prefix(BlockTable& table, std::span<const TokenId> tokens) {
  CHECK(table.is_empty(), "a table with {} blocks takes no prefix", table.blocks.size());
  if (!options_.enable_prefix_caching || tokens.empty()) return 0;
  const size_t most = (tokens.size() - 1) / static_cast<size_t>(block_size());
  for (size_t index = 0; index < most; ++index) {
    const std::optional<BlockId> block = prefixes_.find(hash_of(table, tokens, index));
    if (!block) break;
    pool_.retain(*block);
    table.blocks.push_back(*block);
  }
  table.num_published = table.blocks.size();
  return static_cast<int>(table.blocks.size()) * block_size();
}

bool KvCache::grow(BlockTable& table, int num_tokens) {
  const int64_t missing = blocks_for(num_tokens) - static_cast<int64_t>(table.blocks.size());
  if (missing > pool_.num_available()) return false;
  for (int64_t i = 0; i < missing; ++i) {
    const std::optional<BlockPool::Allocation> allocation = pool_.allocate();
    CHECK(allocation, "the pool counted {} blocks too many", missing - i);
    if (allocation->was_kept) prefixes_.erase(allocation->block);
    table.blocks.push_back(allocation->block);
  }
  return true;
}

void KvCache::publish(BlockTable& table, std::span<const TokenId> tokens, int num_computed) {
  if (!options_.enable_prefix_caching) return;
  CHECK(num_computed <= static_cast<int>(tokens.size()), "{} computed of {}", num_computed, tokens.size());
  const auto num_full = static_cast<size_t>(num_computed / block_size());
  for (; table.num_published < num_full; ++table.num_published) {
    const BlockId block = table.blocks[table.num_published];
    const BlockHash& hash = hash_of(table, tokens, table.num_published);
    if (prefixes_.insert(hash, block)) pool_.keep(block);   // a twin computed at the same time stays private
  }
}

void KvCache::release(BlockTable& table) {
  std::for_each(table.blocks.rbegin(), table.blocks.rend(), [this](BlockId block) { pool_.release(block); });
  table.blocks.clear();
  table.num_published = 0;
}

void KvCache::forget_block(BlockId block) {
  prefixes_.erase(block);
  pool_.forget(block);
}

void KvCache::forget(BlockTable& table) {
  for (const BlockId block : table.blocks) {
    if (prefixes_.holds(block)) forget_block(block);
  }
}

void KvCache::reset_prefixes() {
  for (const BlockId block : prefixes_.blocks()) forget_block(block);
}

KvCache::Audit KvCache::check_integrity(std::span<const BlockTable* const> tables) const {
  Audit audit;
  std::vector<int> held(static_cast<size_t>(num_blocks()));
  for (const BlockTable* table : tables) {
    for (const BlockId block : table->blocks) ++held[static_cast<size_t>(block.value)];
  }
  audit.problem = pool_.check_integrity();
  if (audit.problem.empty()) audit.problem = prefixes_.check_integrity();
  for (int32_t index = 0; index < num_blocks(); ++index) {
    const BlockId block{index};
    const int counted = pool_.num_references(block);
    if (counted > held[static_cast<size_t>(index)]) ++audit.num_leaked_blocks;
    if (!audit.problem.empty()) continue;
    if (counted != held[static_cast<size_t>(index)]) {
      audit.problem =
          fmt::format("block {} has {} references, tables hold {}", index, counted, held[static_cast<size_t>(index)]);
    } else if (pool_.is_kept(block) != prefixes_.holds(block)) {
      audit.problem =
          fmt::format("block {} is kept {} but cached {}", index, pool_.is_kept(block), prefixes_.holds(block));
    }
  }
  return audit;
}

}  // namespace gale
