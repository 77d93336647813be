#include "tokenizer/added_token_matcher.h"

#include "base/check.h"

namespace gale {

AddedTokenMatcher::AddedTokenMatcher() : nodes_(1) { first_.fill(-1); }

int AddedTokenMatcher::child(const Node& node, char byte) {
  for (const auto& [label, index] : node.children)
    if (label == static_cast<unsigned char>(byte)) return index;
  return -1;
}

void AddedTokenMatcher::add(std::string_view text, TokenId id) {
  CHECK(!text.empty());
  int node = 0;
  for (const char byte : text) {
    int next = child(nodes_[node], byte);
    if (next < 0) {
      next = static_cast<int>(nodes_.size());
      nodes_[node].children.emplace_back(static_cast<unsigned char>(byte), next);
      nodes_.emplace_back();
      if (node == 0) first_[static_cast<unsigned char>(byte)] = next;
    }
    node = next;
  }
  nodes_[node].id = id;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::find(std::string_view text, size_t from, size_t to) const {
  CHECK(to <= text.size());
  for (size_t begin = from; begin < to; ++begin) {
    int node = first_[static_cast<unsigned char>(text[begin])];
    if (node < 0) [[likely]] continue;
    std::optional<Match> longest;
    size_t end = begin + 1;
    while (true) {
      if (nodes_[node].id >= 0) longest = Match{begin, end, nodes_[node].id};
      if (end == to) break;
      node = child(nodes_[node], text[end]);
      if (node < 0) break;
      ++end;
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace gale
