#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/guarded.h"
#include "net/http.h"

namespace gale {

// Whether a Host field names this server: localhost, an IP address, or one of `allowed` ("*": any), with any port. A
// web page that lets its own name resolve to this machine (DNS rebinding) comes with another one.
[[nodiscard]] bool is_allowed_host(std::string_view host, const std::vector<std::string>& allowed);

// Whether a request may come from a browser only if our own page sent it: an Origin, if there is one, must be the Host,
// and Sec-Fetch-Site must not speak of another site.
[[nodiscard]] bool is_same_origin(const RequestHead& head);

[[nodiscard]] bool is_loopback_host(std::string_view host);   // an address to listen on

// Who may come in. Holds no sessions: the cookie proves by itself that whoever brings it once knew the password.
// Thread-safe.
class PageDoor {
 public:
  explicit PageDoor(std::string password);       // empty: the door is open
  [[nodiscard]] bool is_open() const { return password_.empty(); }
  [[nodiscard]] bool lets_in(const RequestHead& head, int64_t now_s) const;
  // The value of Set-Cookie for the right password, empty for a wrong one. After kMaxFailures wrong ones within a
  // minute every try is wrong until it is over; `is_barred` tells.
  [[nodiscard]] std::string let_in(std::string_view password, int64_t now_s);
  [[nodiscard]] bool is_barred(int64_t now_s);
  [[nodiscard]] static std::string farewell_cookie();

  static constexpr int kMaxFailures = 10;
  static constexpr int64_t kBarSeconds = 60;
  static constexpr int64_t kCookieSeconds = 30 * 24 * 3600;

 private:
  [[nodiscard]] std::string seal(std::string_view expiry) const;

  const std::string password_;
  std::string key_;                              // SHA-256 of the password: what cookies are signed with
  struct Failures {
    int count = 0;
    int64_t since_s = 0;
  };
  Guarded<Failures> failures_;
};

// A password that nobody chose: 80 random bits as letters and digits.
[[nodiscard]] std::string make_password();

}  // namespace gale
