#include "ui/page_access.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <charconv>
#include <random>

namespace gale {
namespace {

constexpr std::string_view kCookie = "gale_page";

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + (host.find(']') == std::string_view::npos ? 0 : 1));
  return host.substr(0, host.find(':'));
}

bool is_address(std::string_view name) {
  unsigned char bytes[sizeof(in6_addr)];
  const bool is_bracketed = name.size() > 2 && name.front() == '[' && name.back() == ']';
  const std::string bare(is_bracketed ? name.substr(1, name.size() - 2) : name);
  return ::inet_pton(is_bracketed ? AF_INET6 : AF_INET, bare.c_str(), bytes) == 1;
}

std::string hex(const unsigned char* bytes, size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i) fmt::format_to(std::back_inserter(out), "{:02x}", bytes[i]);
  return out;
}

bool is_equal_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string sha256(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return {reinterpret_cast<const char*>(digest), sizeof digest};
}

// The value of our cookie in "a=1; gale_page=...; b=2".
std::string_view find_cookie(std::string_view cookies) {
  while (!cookies.empty()) {
    const size_t end = std::min(cookies.find(';'), cookies.size());
    const std::string_view pair = trim_blanks(cookies.substr(0, end));
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
    if (pair.starts_with(kCookie) && pair.substr(kCookie.size()).starts_with('='))
      return pair.substr(kCookie.size() + 1);
  }
  return {};
}

}  // namespace

bool is_allowed_host(std::string_view host, const std::vector<std::string>& allowed) {
  const std::string_view name = without_port(host);
  if (equal_ignoring_case(name, "localhost") || is_address(name)) return true;
  for (const std::string& one : allowed) {
    if (one == "*" || equal_ignoring_case(one, name)) return true;
  }
  return false;
}

bool is_same_origin(const RequestHead& head) {
  const std::string_view site = head.field("sec-fetch-site").value_or("none");
  if (site != "same-origin" && site != "none") return false;
  const auto origin = head.field("origin");
  if (!origin) return true;
  const size_t scheme = origin->find("://");
  return scheme != std::string_view::npos &&
         equal_ignoring_case(origin->substr(scheme + 3), head.field("host").value_or(""));
}

bool is_loopback_host(std::string_view host) {
  return equal_ignoring_case(host, "localhost") || is_loopback_address(host);
}

PageDoor::PageDoor(std::string password)
    : password_(std::move(password)), key_(sha256("gale page cookie\n" + password_)) {}

std::string PageDoor::seal(std::string_view expiry) const {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const unsigned char*>(expiry.data()),
       expiry.size(), digest, &size);
  return hex(digest, size);
}

bool PageDoor::lets_in(const RequestHead& head, int64_t now_s) const {
  if (is_open()) return true;
  const std::string_view cookie = find_cookie(head.field("cookie").value_or(""));
  const std::string_view expiry = cookie.substr(0, cookie.find('.'));
  int64_t until_s = 0;
  const auto [end, error] = std::from_chars(expiry.data(), expiry.data() + expiry.size(), until_s);
  if (expiry.empty() || error != std::errc() || end != expiry.data() + expiry.size() || until_s < now_s) return false;
  return cookie.size() > expiry.size() && is_equal_secret(cookie.substr(expiry.size() + 1), seal(expiry));
}

std::string PageDoor::let_in(std::string_view password, int64_t now_s) {
  const bool is_right = !is_barred(now_s) && is_equal_secret(sha256(password), sha256(password_));
  if (!is_right) {
    failures_.with([&](Failures& failures) {
      if (failures.count++ == 0) failures.since_s = now_s;
    });
    return {};
  }
  const std::string expiry = std::to_string(now_s + kCookieSeconds);
  return fmt::format("{}={}.{}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", kCookie, expiry, seal(expiry),
                     kCookieSeconds);
}

bool PageDoor::is_barred(int64_t now_s) {
  return failures_.with([&](Failures& failures) {
    if (now_s - failures.since_s >= kBarSeconds) failures = {};
    return failures.count >= kMaxFailures;
  });
}

std::string PageDoor::farewell_cookie() {
  return fmt::format("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", kCookie);
}

std::string make_password() {
  constexpr std::string_view kLetters = "abcdefghjkmnpqrstuvwxyz23456789+";   // 32, none of which looks like another
  std::random_device device;
  std::string out;
  for (int i = 0; i < 16; ++i) out += kLetters[device() % kLetters.size()];
  return out;
}

}  // namespace gale
