#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/strong_id.h"

namespace gale {

using BlockId = StrongId<struct BlockIdTag, int32_t>;

// Counts references to a fixed number of blocks and says which one to use next. Knows neither what is in a block nor
// who refers to it.
//
//        allocate()                     release() to 0
//  empty ----------> referenced (>= 1) ---------------> empty
//                      ^        |
//             retain() |        | release() to 0, if kept
//                      +- idle -+      idle: unreferenced, its content may be wanted again; taken least recently used
//                      first
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  struct Allocation {
    BlockId block;
    bool was_kept = false;     // an idle block was taken: whoever remembers its content must forget it
  };
  // A block with one reference: an empty one if there is any, else the idle one released longest ago. nullopt: all are
  // in use.
  [[nodiscard]] std::optional<Allocation> allocate();
  void retain(BlockId block);          // one more reference, to a referenced or idle block
  void release(BlockId block);         // one reference less
  void keep(BlockId block);            // once unreferenced it turns idle, not empty
  void forget(BlockId block);          // the opposite; an idle block becomes empty

  [[nodiscard]] int64_t num_blocks() const { return static_cast<int64_t>(entries_.size()); }
  [[nodiscard]] int64_t num_available() const { return num_empty_ + num_idle_; }   // what allocate() could still give
  [[nodiscard]] int64_t num_idle() const { return num_idle_; }
  [[nodiscard]] int num_references(BlockId block) const;
  [[nodiscard]] bool is_kept(BlockId block) const;

  // Walks all lists and counters. Empty: all is well; else the first contradiction in words.
  [[nodiscard]] std::string check_integrity() const;

 private:
  static constexpr int32_t kNone = -1;
  struct Entry {
    int32_t references = 0;
    bool kept = false;
    int32_t previous = kNone, next = kNone;    // in the empty or the idle list
  };
  struct List { int32_t head = kNone, tail = kNone; };

  Entry& at(BlockId block);
  void append(List& list, int32_t index);
  void unlink(List& list, int32_t index);
  [[nodiscard]] std::string walk(const List& list, bool kept, int64_t expected) const;

  std::vector<Entry> entries_;
  List empty_, idle_;                           // idle_: least recently used first
  int64_t num_empty_ = 0, num_idle_ = 0;
};

}  // namespace gale
