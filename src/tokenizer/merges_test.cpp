#include "tokenizer/merges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace gale {
namespace {

using testing::ElementsAre;

// The definition, step by step: the pair of smallest rank, the leftmost of them.
std::vector<TokenId> merge_slowly(const MergeTable& table, std::vector<TokenId> ids) {
  while (true) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const Merge* merge = table.find(ids[i], ids[i + 1]);
      if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) {
        best = merge;
        at = i;
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->result;
    ids.erase(ids.begin() + at + 1);
  }
}

TEST(MergeTable, takes_the_smallest_rank_first_and_of_equals_the_leftmost) {
  MergeTable table(2);
  table.add(0, 1, {1, 10});
  table.add(1, 0, {0, 11});
  std::vector<TokenId> ids = {0, 1, 0, 1};
  table.apply(ids);
  EXPECT_THAT(ids, ElementsAre(0, 11, 1));
  ids = {0, 0, 1};
  table.apply(ids);
  EXPECT_THAT(ids, ElementsAre(0, 10));
}

TEST(MergeTable, leaves_none_and_one_alone) {
  const MergeTable table(0);
  std::vector<TokenId> ids;
  table.apply(ids);
  EXPECT_TRUE(ids.empty());
  ids = {5};
  table.apply(ids);
  EXPECT_THAT(ids, ElementsAre(5));
}

TEST(MergeTable, short_and_long_texts_follow_the_definition) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    MergeTable table(60);
    constexpr int kLetters = 4;
    for (int rank = 0; rank < 60; ++rank)
      table.add(static_cast<TokenId>(random() % (kLetters + rank)), static_cast<TokenId>(random() % (kLetters + rank)),
                {rank, kLetters + rank});
    for (const size_t length : {2, 3, 10, 47, 48, 49, 50, 200}) {
      std::vector<TokenId> ids(length);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % kLetters);
      const std::vector<TokenId> expected = merge_slowly(table, ids);
      table.apply(ids);
      EXPECT_EQ(ids, expected) << "round " << round << ", length " << length;
    }
  }
}

}  // namespace
}  // namespace gale
