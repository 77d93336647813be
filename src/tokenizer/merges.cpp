#include "tokenizer/merges.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <queue>

#include "tokenizer/mix.h"

namespace gale {
namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
constexpr size_t kShort = 48;   // up to here a scan for the best pair beats a heap

uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct Symbol {
  TokenId id;
  int32_t previous;   // -1: none
  int32_t next;       // -1: none
};

struct Candidate {
  int32_t rank;
  int32_t left;       // index of the left symbol
  TokenId result;
  bool operator<(const Candidate& other) const {  // priority_queue gives the largest first: the smallest rank, leftmost
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

}  // namespace

MergeTable::MergeTable(size_t num_merges) : slots_(std::bit_ceil(num_merges * 2 + 1), Slot{kNoPair, {}}) {}

size_t MergeTable::slot_of(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = mix_bits(pair) & mask;
  while (slots_[slot].pair != pair && slots_[slot].pair != kNoPair) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::add(TokenId left, TokenId right, Merge merge) {
  const uint64_t pair = pair_of(left, right);
  slots_[slot_of(pair)] = {pair, merge};
}

const Merge* MergeTable::find(TokenId left, TokenId right) const {
  const Slot& slot = slots_[slot_of(pair_of(left, right))];
  return slot.pair == kNoPair ? nullptr : &slot.merge;
}

void MergeTable::apply(std::vector<TokenId>& ids) const {
  if (ids.size() < 2) return;
  if (ids.size() <= kShort) {
    apply_short(ids);
  } else {
    apply_long(ids);
  }
}

void MergeTable::apply_short(std::vector<TokenId>& ids) const {
  constexpr Merge kNone{kNoRank, 0};
  std::array<Merge, kShort> merges;   // merges[i]: of ids[i] and ids[i + 1]
  const auto look_up = [&](size_t i) {
    const Merge* merge = find(ids[i], ids[i + 1]);
    merges[i] = merge ? *merge : kNone;
  };
  size_t num_pairs = ids.size() - 1;
  for (size_t i = 0; i < num_pairs; ++i) look_up(i);
  while (num_pairs > 0) {
    const auto best = std::min_element(merges.begin(), merges.begin() + num_pairs,
                                       [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == kNoRank) return;
    const size_t i = best - merges.begin();
    ids[i] = best->result;
    ids.erase(ids.begin() + i + 1);
    std::copy(merges.begin() + i + 1, merges.begin() + num_pairs, merges.begin() + i);
    --num_pairs;
    if (i < num_pairs) look_up(i);
    if (i > 0) look_up(i - 1);
  }
}

void MergeTable::apply_long(std::vector<TokenId>& ids) const {
  const auto num_symbols = static_cast<int32_t>(ids.size());
  std::vector<Symbol> symbols(ids.size());
  for (int32_t i = 0; i < num_symbols; ++i) symbols[i] = {ids[i], i - 1, i + 1 < num_symbols ? i + 1 : -1};
  std::priority_queue<Candidate> candidates;
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    if (const Merge* merge = find(symbols[left].id, symbols[symbols[left].next].id))
      candidates.push({merge->rank, left, merge->result});
  };
  for (int32_t i = 0; i + 1 < num_symbols; ++i) consider(i);
  constexpr TokenId kGone = -1;
  while (!candidates.empty()) {
    const Candidate candidate = candidates.top();
    candidates.pop();
    Symbol& left = symbols[candidate.left];
    if (left.id == kGone || left.next < 0) continue;
    const Merge* merge = find(left.id, symbols[left.next].id);   // the neighbours may have changed meanwhile
    if (merge == nullptr || merge->result != candidate.result) continue;
    Symbol& right = symbols[left.next];
    left.id = candidate.result;
    left.next = right.next;
    right.id = kGone;
    if (left.next >= 0) symbols[left.next].previous = candidate.left;
    consider(left.previous);
    consider(candidate.left);
  }
  ids.clear();
  for (const Symbol& symbol : symbols)
    if (symbol.id != kGone) ids.push_back(symbol.id);
}

}  // namespace gale
