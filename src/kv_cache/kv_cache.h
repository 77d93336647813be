#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/token.h"
#include "kv_cache/block_hash.h"
#include "kv_cache/block_pool.h"
#include "kv_cache/prefix_cache.h"

namespace gale {

// The blocks of one sequence, in order of its tokens. Holds one reference to each; KvCache::release gives them back.
//
//   0 ....... published ....... computed ......... blocks.size() * block_size
//   |  in the prefix cache  |  full or filling  |  owned, empty  |
struct BlockTable {
  std::vector<BlockId> blocks;
  BlockHash root;                      // of the sequence's salt and extra keys
  std::vector<BlockHash> hashes;       // of the leading full blocks that have been looked up or published
  size_t num_published = 0;            // leading blocks found in the prefix cache or offered to it
  [[nodiscard]] bool is_empty() const { return blocks.empty(); }
};

// Hands blocks to sequences, shares full ones between those with equal prefixes, evicts the least recently used
// unreferenced prefix when blocks run short. Bookkeeping only: knows neither requests nor devices.
class KvCache {
 public:
  struct Options { int64_t num_blocks = 0; int block_size = 16; bool enable_prefix_caching = true; };
  explicit KvCache(const Options& options);

  [[nodiscard]] BlockTable make_table(std::string_view salt, std::span<const std::string> extra_keys);

  // Fills an empty table with the longest cached prefix of `tokens`, in full blocks, but never with the last token: at
  // least one is left to compute. Returns the number of tokens found.
  [[nodiscard]] int match_prefix(BlockTable& table, std::span<const TokenId> tokens);

  // Appends blocks until `num_tokens` fit. False, and nothing changes, if there are too few.
  [[nodiscard]] bool grow(BlockTable& table, int num_tokens);

  // Makes the full blocks of the first num_computed tokens findable.
  void publish(BlockTable& table, std::span<const TokenId> tokens, int num_computed);

  // Nobody shall find the table's blocks any more: what they hold is not to be trusted.
  void forget(BlockTable& table);

  // Gives all blocks back. The tail is evicted before the head it hangs on.
  void release(BlockTable& table);

  // Forgets all prefixes. Blocks in use stay with their sequences.
  void reset_prefixes();

  [[nodiscard]] int block_size() const { return options_.block_size; }
  [[nodiscard]] int64_t num_blocks() const { return pool_.num_blocks(); }
  [[nodiscard]] int64_t num_available() const { return pool_.num_available(); }
  [[nodiscard]] int64_t num_idle() const { return pool_.num_idle(); }
  [[nodiscard]] int64_t blocks_for(int64_t num_tokens) const { return (num_tokens + block_size() - 1) / block_size(); }

  struct Audit {
    int64_t num_leaked_blocks = 0;     // references that no table accounts for
    std::string problem;               // empty: all is well
  };
  // Counts every reference; `tables` are all that exist.
  [[nodiscard]] Audit check_integrity(std::span<const BlockTable* const> tables) const;

 private:
  void forget_block(BlockId block);
  // The hash of full block `index` of `tokens`, and all before it, are in table.hashes afterwards.
  const BlockHash& hash_of(BlockTable& table, std::span<const TokenId> tokens, size_t index);

  Options options_;
  BlockPool pool_;
  PrefixCache prefixes_;
  BlockHasher hasher_;
};

}  // namespace gale
