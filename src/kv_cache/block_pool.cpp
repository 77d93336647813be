#include "kv_cache/block_pool.h"

#include <fmt/format.h>

#include "base/check.h"

namespace gale {

BlockPool::BlockPool(int64_t num_blocks) : entries_(static_cast<size_t>(num_blocks)) {
  for (int32_t index = 0; index < num_blocks; ++index) append(empty_, index);
  num_empty_ = num_blocks;
}

BlockPool::Entry& BlockPool::at(BlockId block) {
  CHECK(block.value >= 0 && block.value < num_blocks(), "block {} of {}", block.value, num_blocks());
  return entries_[static_cast<size_t>(block.value)];
}

int BlockPool::num_references(BlockId block) const { return const_cast<BlockPool*>(this)->at(block).references; }
bool BlockPool::is_kept(BlockId block) const { return const_cast<BlockPool*>(this)->at(block).kept; }

std::optional<BlockPool::Allocation> BlockPool::allocate() {
  const bool from_idle = num_empty_ == 0;
  if (from_idle && num_idle_ == 0) return std::nullopt;
  List& list = from_idle ? idle_ : empty_;
  const int32_t index = list.head;
  unlink(list, index);
  --(from_idle ? num_idle_ : num_empty_);
  entries_[static_cast<size_t>(index)] = {.references = 1};
  return Allocation{BlockId{index}, from_idle};
}

void BlockPool::retain(BlockId block) {
  Entry& entry = at(block);
  CHECK(entry.references > 0 || entry.kept, "block {} is empty", block.value);
  if (entry.references++ > 0) return;
  unlink(idle_, block.value);
  --num_idle_;
}

void BlockPool::release(BlockId block) {
  Entry& entry = at(block);
  CHECK(entry.references > 0, "block {} is released more often than taken", block.value);
  if (--entry.references > 0) return;
  append(entry.kept ? idle_ : empty_, block.value);
  ++(entry.kept ? num_idle_ : num_empty_);
}

void BlockPool::keep(BlockId block) {
  Entry& entry = at(block);
  CHECK(entry.references > 0, "block {} is not in use", block.value);
  entry.kept = true;
}

void BlockPool::forget(BlockId block) {
  Entry& entry = at(block);
  CHECK(entry.kept, "block {} holds nothing to forget", block.value);
  entry.kept = false;
  if (entry.references > 0) return;
  unlink(idle_, block.value);
  --num_idle_;
  append(empty_, block.value);
  ++num_empty_;
}

void BlockPool::append(List& list, int32_t index) {
  Entry& entry = entries_[static_cast<size_t>(index)];
  entry.previous = list.tail;
  entry.next = kNone;
  (list.tail == kNone ? list.head : entries_[static_cast<size_t>(list.tail)].next) = index;
  list.tail = index;
}

void BlockPool::unlink(List& list, int32_t index) {
  Entry& entry = entries_[static_cast<size_t>(index)];
  (entry.previous == kNone ? list.head : entries_[static_cast<size_t>(entry.previous)].next) = entry.next;
  (entry.next == kNone ? list.tail : entries_[static_cast<size_t>(entry.next)].previous) = entry.previous;
  entry.previous = entry.next = kNone;
}

std::string BlockPool::walk(const List& list, bool kept, int64_t expected) const {
  int64_t count = 0;
  int32_t previous = kNone;
  for (int32_t index = list.head; index != kNone; index = entries_[static_cast<size_t>(index)].next) {
    const Entry& entry = entries_[static_cast<size_t>(index)];
    if (entry.references != 0)
      return fmt::format("block {} is listed as free with {} references", index, entry.references);
    if (entry.kept != kept) return fmt::format("block {} is in the wrong list", index);
    if (entry.previous != previous) return fmt::format("block {} has a broken back link", index);
    if (++count > expected) break;              // also ends a cycle
    previous = index;
  }
  if (count != expected) return fmt::format("a list holds {} blocks, its counter says {}", count, expected);
  return {};
}

std::string BlockPool::check_integrity() const {
  if (std::string problem = walk(empty_, false, num_empty_); !problem.empty()) return problem;
  if (std::string problem = walk(idle_, true, num_idle_); !problem.empty()) return problem;
  int64_t num_referenced = 0;
  for (const Entry& entry : entries_) num_referenced += entry.references > 0 ? 1 : 0;
  if (num_referenced + num_empty_ + num_idle_ == num_blocks()) return {};
  return fmt::format("{} referenced + {} empty + {} idle blocks are not {}", num_referenced, num_empty_, num_idle_,
                     num_blocks());
}

}  // namespace gale
