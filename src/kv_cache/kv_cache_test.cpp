#include "kv_cache/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace gale {
namespace {

std::vector<TokenId> count_from(TokenId first, int count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A small cache and the tables under its audit.
class KvCacheTest : public testing::Test {
 protected:
  static constexpr int kBlock = 4;
  KvCache cache_{{.num_blocks = 8, .block_size = kBlock}};

  // A sequence that was computed and finished: its full blocks are cached.
  void compute_and_release(const std::vector<TokenId>& tokens, const std::string& salt = "") {
    BlockTable table = cache_.make_table(salt, {});
    (void)cache_.match_prefix(table, tokens);
    ASSERT_TRUE(cache_.grow(table, static_cast<int>(tokens.size())));
    cache_.publish(table, tokens, static_cast<int>(tokens.size()));
    cache_.release(table);
    audit({});
  }
  int found(const std::vector<TokenId>& tokens, const std::string& salt = "", std::vector<std::string> keys = {}) {
    BlockTable table = cache_.make_table(salt, keys);
    const int num_found = cache_.match_prefix(table, tokens);
    cache_.release(table);
    return num_found;
  }
  void audit(std::vector<const BlockTable*> tables) {
    const KvCache::Audit audit = cache_.check_integrity(tables);
    EXPECT_EQ(audit.problem, "");
    EXPECT_EQ(audit.num_leaked_blocks, 0);
  }
};

TEST_F(KvCacheTest, finds_full_blocks_of_an_earlier_sequence) {
  compute_and_release(count_from(0, 11));
  EXPECT_EQ(found(count_from(0, 11)), 8);
  EXPECT_EQ(found(count_from(0, 7)), 4);
}

TEST_F(KvCacheTest, leaves_at_least_one_token_to_compute) {
  compute_and_release(count_from(0, 8));
  EXPECT_EQ(found(count_from(0, 8)), 4);
  EXPECT_EQ(found(count_from(0, 9)), 8);
  EXPECT_EQ(found({}), 0);
}

TEST_F(KvCacheTest, separates_salts_and_extra_keys) {
  compute_and_release(count_from(0, 9), "tenant a");
  EXPECT_EQ(found(count_from(0, 9), "tenant a"), 8);
  EXPECT_EQ(found(count_from(0, 9), "tenant b"), 0);
  EXPECT_EQ(found(count_from(0, 9), "tenant a", {"image"}), 0);
}

TEST_F(KvCacheTest, a_block_is_found_only_behind_the_same_prefix) {
  compute_and_release({1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(found({0, 2, 3, 4, 5, 6, 7, 8, 9}), 0);
}

TEST_F(KvCacheTest, shares_a_block_between_live_sequences) {
  compute_and_release(count_from(0, 9));
  BlockTable a = cache_.make_table("", {}), b = cache_.make_table("", {});
  const std::vector<TokenId> tokens = count_from(0, 9);
  EXPECT_EQ(cache_.match_prefix(a, tokens), 8);
  EXPECT_EQ(cache_.match_prefix(b, tokens), 8);
  EXPECT_EQ(a.blocks, b.blocks);
  EXPECT_EQ(cache_.num_available(), 6);
  audit({&a, &b});
  cache_.release(a);
  EXPECT_EQ(cache_.num_available(), 6);
  cache_.release(b);
  EXPECT_EQ(cache_.num_available(), 8);
}

TEST_F(KvCacheTest, evicts_least_recently_used_unreferenced_prefix) {
  compute_and_release(count_from(100, 13));   // three blocks cached, one empty again
  compute_and_release(count_from(200, 13));
  EXPECT_EQ(found(count_from(100, 13)), 12);  // touched: 200 is older now
  BlockTable table = cache_.make_table("", {});
  ASSERT_TRUE(cache_.grow(table, 4 * kBlock));
  EXPECT_EQ(found(count_from(100, 13)), 12);
  EXPECT_EQ(found(count_from(200, 13)), 4) << "the tail goes before the head";
  cache_.release(table);
}

TEST_F(KvCacheTest, never_evicts_a_referenced_block) {
  compute_and_release(count_from(0, 9));
  BlockTable user = cache_.make_table("", {});
  EXPECT_EQ(cache_.match_prefix(user, count_from(0, 9)), 8);
  BlockTable other = cache_.make_table("", {});
  EXPECT_FALSE(cache_.grow(other, 7 * kBlock));
  EXPECT_TRUE(other.is_empty()) << "a failed growth takes nothing";
  EXPECT_TRUE(cache_.grow(other, 6 * kBlock));
  audit({&user, &other});
  EXPECT_EQ(found(count_from(0, 9)), 8);
  cache_.release(user);
  cache_.release(other);
}

TEST_F(KvCacheTest, twins_computed_at_once_keep_one_cached_copy) {
  const std::vector<TokenId> tokens = count_from(0, 4);
  BlockTable a = cache_.make_table("", {}), b = cache_.make_table("", {});
  ASSERT_TRUE(cache_.grow(a, 4) && cache_.grow(b, 4));
  cache_.publish(a, tokens, 4);
  cache_.publish(b, tokens, 4);
  audit({&a, &b});
  cache_.release(a);
  cache_.release(b);
  EXPECT_EQ(cache_.num_idle(), 1);
}

TEST_F(KvCacheTest, publishes_only_what_is_computed) {
  const std::vector<TokenId> tokens = count_from(0, 12);
  BlockTable table = cache_.make_table("", {});
  ASSERT_TRUE(cache_.grow(table, 12));
  cache_.publish(table, tokens, 7);
  EXPECT_EQ(found(tokens), 4);
  cache_.publish(table, tokens, 12);
  EXPECT_EQ(found(count_from(0, 13)), 12);
  cache_.release(table);
}

TEST_F(KvCacheTest, reset_forgets_prefixes_but_not_owners) {
  compute_and_release(count_from(0, 9));
  BlockTable table = cache_.make_table("", {});
  EXPECT_EQ(cache_.match_prefix(table, count_from(0, 9)), 8);
  cache_.reset_prefixes();
  audit({&table});
  EXPECT_EQ(found(count_from(0, 9)), 0);
  cache_.release(table);
  EXPECT_EQ(cache_.num_idle(), 0);
  EXPECT_EQ(cache_.num_available(), 8);
}

TEST_F(KvCacheTest, audit_counts_a_table_that_was_forgotten) {
  BlockTable table = cache_.make_table("", {});
  ASSERT_TRUE(cache_.grow(table, 2 * kBlock));
  const KvCache::Audit audit = cache_.check_integrity({});
  EXPECT_EQ(audit.num_leaked_blocks, 2);
  EXPECT_THAT(audit.problem, testing::HasSubstr("references"));
  cache_.release(table);
}

TEST(KvCache, without_prefix_caching_nothing_is_found) {
  KvCache cache({.num_blocks = 4, .block_size = 4, .enable_prefix_caching = false});
  BlockTable table = cache.make_table("", {});
  ASSERT_TRUE(cache.grow(table, 8));
  cache.publish(table, count_from(0, 8), 8);
  cache.release(table);
  EXPECT_EQ(cache.match_prefix(table, count_from(0, 9)), 0);
  EXPECT_EQ(cache.num_idle(), 0);
}

// A pool full of sequences around 1,280 tokens: the share of token places that no token fills. Blocks of 64, the
// largest.
TEST(KvCache, loses_less_than_five_percent_at_a_mean_length_of_1280) {
  for (const int block_size : {16, 64}) {
    KvCache cache({.num_blocks = 200'000 / block_size, .block_size = block_size});
    std::mt19937_64 random(7);
    std::uniform_int_distribution<int> length(256, 2304);   // mean 1280
    int64_t used = 0, taken = 0;
    for (;;) {
      BlockTable table = cache.make_table("", {});
      const int num_tokens = length(random);
      if (!cache.grow(table, num_tokens)) break;
      used += num_tokens;
      taken += static_cast<int64_t>(table.blocks.size()) * block_size;
    }
    EXPECT_GT(taken, 190'000);
    EXPECT_LT(static_cast<double>(taken - used) / static_cast<double>(taken), 0.05) << block_size;
  }
}

TEST(BlockPool, integrity_check_follows_every_random_operation) {
  BlockPool pool(16);
  std::mt19937_64 random(3);
  std::vector<BlockId> held;
  for (int step = 0; step < 5000; ++step) {
    const uint64_t dice = random() % 4;
    if (dice < 2) {
      if (const auto allocation = pool.allocate()) held.push_back(allocation->block);
    } else if (!held.empty()) {
      const size_t index = random() % held.size();
      if (dice == 2 && !pool.is_kept(held[index])) pool.keep(held[index]);
      pool.release(held[index]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
    }
    ASSERT_EQ(pool.check_integrity(), "");
    ASSERT_EQ(pool.num_available(), 16 - static_cast<int64_t>(held.size()));
  }
}

TEST(BlockPoolDeathTest, releasing_twice_is_our_bug) {
  BlockPool pool(2);
  const BlockId block = pool.allocate()->block;
  pool.release(block);
  EXPECT_DEATH(pool.release(block), "more often than taken");
}

TEST(BlockHasher, chains_and_separates) {
  BlockHasher hasher;
  const std::vector<TokenId> a = {1, 2}, b = {3, 4};
  const std::vector<std::string> joined = {"xy"}, split = {"x", "y"};
  const BlockHash root = hasher.root("", {});
  EXPECT_EQ(hasher.next(root, a), hasher.next(root, a));
  EXPECT_NE(hasher.next(hasher.next(root, a), b), hasher.next(root, b));
  EXPECT_NE(hasher.root("", joined), hasher.root("", split));
  EXPECT_NE(hasher.root("xy", {}), hasher.root("", joined)) << "an empty salt is a salt too";
}

}  // namespace
}  // namespace gale
