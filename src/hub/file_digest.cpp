#include "hub/file_digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/check.h"

namespace gale {
namespace {

constexpr size_t kSha1Digits = 40;
constexpr size_t kSha256Digits = 64;

const EVP_MD* kind_of(std::string_view etag) {
  if (etag.find_first_not_of("0123456789abcdef") != std::string_view::npos) return nullptr;
  if (etag.size() == kSha256Digits) return EVP_sha256();
  return etag.size() == kSha1Digits ? EVP_sha1() : nullptr;
}

}   // namespace

void FileDigest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

FileDigest::FileDigest(std::string etag, uint64_t size)
    : etag_(std::move(etag)), size_(size), context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr);
  restart();
}
FileDigest::~FileDigest() = default;

void FileDigest::restart() {
  const EVP_MD* kind = kind_of(etag_);
  if (kind == nullptr) return;
  CHECK(EVP_DigestInit_ex2(context_.get(), kind, nullptr) == 1);
  if (etag_.size() != kSha1Digits) return;
  const std::string head = fmt::format("blob {}", size_);
  add(std::string_view(head.c_str(), head.size() + 1));
}

void FileDigest::add(std::string_view bytes) {
  if (kind_of(etag_) != nullptr) CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

bool FileDigest::matches() {
  if (kind_of(etag_) == nullptr) return true;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  CHECK(EVP_DigestFinal_ex(context_.get(), digest, &length) == 1);
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex == etag_;
}

}   // namespace gale
