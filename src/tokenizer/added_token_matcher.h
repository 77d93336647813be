#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/token.h"

namespace gale {

// Finds fixed strings in text: leftmost first, of those that start at one place the longest.
class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin;
    size_t end;
    TokenId id;
  };

  AddedTokenMatcher();

  // `text` must not be empty.
  void add(std::string_view text, TokenId id);

  // The first match that lies in text[from, to).
  [[nodiscard]] std::optional<Match> find(std::string_view text, size_t from, size_t to) const;

 private:
  struct Node {
    TokenId id = -1;                                     // >= 0: a string ends here
    std::vector<std::pair<unsigned char, int>> children;   // byte and node
  };
  [[nodiscard]] static int child(const Node& node, char byte);   // -1: none

  std::vector<Node> nodes_;           // nodes_[0] is the root
  std::array<int, 256> first_{};      // the root's children by byte; -1: none
};

}  // namespace gale
