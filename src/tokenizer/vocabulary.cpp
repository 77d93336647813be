#include "tokenizer/vocabulary.h"

#include <cstring>

#include "base/check.h"
#include "tokenizer/mix.h"

namespace gale {
namespace {

constexpr TokenId kEmpty = -1;

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  while (bytes.size() > 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    hash = mix_bits(hash ^ word);
    bytes.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return mix_bits(hash ^ word);
}

}  // namespace

bool Vocabulary::add(TokenId id, std::string_view text) {
  CHECK(id >= 0 && !text.empty());
  if (static_cast<size_t>(id) >= extents_.size()) extents_.resize(id + 1);
  Extent& extent = extents_[id];
  if (extent.length != 0) return bytes(id) == text;
  extent = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(text.size())};
  arena_ += text;
  return true;
}

size_t Vocabulary::slot_of(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_bytes(text) & mask;
  while (slots_[slot] != kEmpty && bytes(slots_[slot]) != text) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  std::vector<TokenId> old = std::move(slots_);
  slots_.assign(old.empty() ? 1024 : old.size() * 2, kEmpty);
  for (const TokenId id : old)
    if (id != kEmpty) slots_[slot_of(bytes(id))] = id;
}

bool Vocabulary::index(TokenId id) {
  CHECK(!bytes(id).empty());
  if (2 * (num_indexed_ + 1) > slots_.size()) grow();
  TokenId& slot = slots_[slot_of(bytes(id))];
  if (slot != kEmpty) return slot == id;
  slot = id;
  ++num_indexed_;
  return true;
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  if (slots_.empty()) return std::nullopt;
  const TokenId id = slots_[slot_of(text)];
  if (id == kEmpty) return std::nullopt;
  return id;
}

}  // namespace gale
