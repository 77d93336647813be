#include "kv_cache/block_hash.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace gale {
namespace {

struct FreeMd { void operator()(EVP_MD* md) const { EVP_MD_free(md); } };
struct FreeContext { void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); } };

}  // namespace

// The algorithm is fetched once: OpenSSL's implicit fetch costs more than hashing a block.
struct BlockHasher::State {
  std::unique_ptr<EVP_MD, FreeMd> sha256{EVP_MD_fetch(nullptr, "SHA256", nullptr)};
  std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};

  void begin() { CHECK(EVP_DigestInit_ex2(context.get(), sha256.get(), nullptr) == 1); }
  void add(const void* data, size_t num_bytes) { CHECK(EVP_DigestUpdate(context.get(), data, num_bytes) == 1); }
  // Length first, so that no two lists of strings give the same bytes.
  void add_text(std::string_view text) {
    const uint64_t length = text.size();
    add(&length, sizeof length);
    add(text.data(), text.size());
  }
  BlockHash end() {
    BlockHash hash;
    unsigned int length = 0;
    CHECK(EVP_DigestFinal_ex(context.get(), hash.bytes.data(), &length) == 1 && length == hash.bytes.size());
    return hash;
  }
};

BlockHasher::BlockHasher() : state_(std::make_unique<State>()) {
  CHECK(state_->sha256 && state_->context, "OpenSSL offers no SHA-256");
}
BlockHasher::~BlockHasher() = default;
BlockHasher::BlockHasher(BlockHasher&&) noexcept = default;
BlockHasher& BlockHasher::operator=(BlockHasher&&) noexcept = default;

BlockHash BlockHasher::root(std::string_view salt, std::span<const std::string> extra_keys) {
  state_->begin();
  state_->add_text(salt);
  for (const std::string& key : extra_keys) state_->add_text(key);
  return state_->end();
}

BlockHash BlockHasher::next(const BlockHash& parent, std::span<const TokenId> tokens) {
  state_->begin();
  state_->add(parent.bytes.data(), parent.bytes.size());
  state_->add(tokens.data(), tokens.size_bytes());
  return state_->end();
}

}  // namespace gale
