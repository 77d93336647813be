#include <gtest/gtest.h>

#include <set>

#include "ui/assets.h"
#include "ui/page_access.h"

namespace gale {
namespace {

RequestHead head_with(HttpFields fields) {
  RequestHead head;
  head.fields = std::move(fields);
  return head;
}

TEST(PageAccess, knows_its_own_names) {
  for (const char* host :
       {"localhost", "LOCALHOST:7860", "127.0.0.1", "10.1.2.3:80", "[::1]:7860", "[fe80::1]", "page.example:1"}) {
    EXPECT_TRUE(is_allowed_host(host, {"page.example"})) << host;
  }
  for (const char* host : {"", ":80", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1",
                           "[evil]", "page.example.evil"}) {
    EXPECT_FALSE(is_allowed_host(host, {"page.example"})) << host;
  }
  EXPECT_TRUE(is_allowed_host("anything", {"*"}));
}

TEST(PageAccess, takes_browsers_at_their_word_only_for_the_same_origin) {
  EXPECT_TRUE(is_same_origin(head_with({{"host", "localhost:1"}})));
  EXPECT_TRUE(is_same_origin(head_with({{"host", "localhost:1"}, {"origin", "http://LOCALHOST:1"}})));
  EXPECT_TRUE(is_same_origin(
      head_with({{"host", "a.example"}, {"origin", "https://a.example"}, {"sec-fetch-site", "same-origin"}})));
  EXPECT_FALSE(is_same_origin(head_with({{"host", "localhost:1"}, {"origin", "http://localhost:2"}})));
  EXPECT_FALSE(is_same_origin(head_with({{"host", "localhost:1"}, {"origin", "null"}})));
  EXPECT_FALSE(is_same_origin(head_with({{"host", "localhost:1"}, {"sec-fetch-site", "cross-site"}})));
}

std::string cookie_of(const std::string& set_cookie) { return set_cookie.substr(0, set_cookie.find(';')); }

TEST(PageDoor, lets_in_who_knew_the_password_until_the_cookie_is_old) {
  PageDoor door("open sesame");
  EXPECT_FALSE(door.lets_in(head_with({}), 1000));
  EXPECT_EQ(door.let_in("open", 1000), "");
  const std::string cookie = cookie_of(door.let_in("open sesame", 1000));
  const RequestHead head = head_with({{"cookie", "a=1; " + cookie + "; b=2"}});
  EXPECT_TRUE(door.lets_in(head, 1000));
  EXPECT_TRUE(door.lets_in(head, 1000 + PageDoor::kCookieSeconds));
  EXPECT_FALSE(door.lets_in(head, 1001 + PageDoor::kCookieSeconds));
  EXPECT_TRUE(PageDoor("open sesame").lets_in(head, 1000));        // another life of the same page
  EXPECT_FALSE(PageDoor("other").lets_in(head, 1000));
  for (const char* forged :
       {"gale_page=", "gale_page=9999999999", "gale_page=9999999999.", "gale_page=9999999999.00", "gale_page=.x"}) {
    EXPECT_FALSE(door.lets_in(head_with({{"cookie", forged}}), 1000)) << forged;
  }
  EXPECT_TRUE(PageDoor("").lets_in(head_with({}), 1000));
}

TEST(PageDoor, is_barred_for_a_minute_after_too_many_tries) {
  PageDoor door("right");
  for (int i = 0; i < PageDoor::kMaxFailures; ++i) EXPECT_EQ(door.let_in("wrong", 50), "");
  EXPECT_TRUE(door.is_barred(51));
  EXPECT_EQ(door.let_in("right", 51), "");
  EXPECT_NE(door.let_in("right", 50 + PageDoor::kBarSeconds), "");
}

TEST(PageDoor, makes_passwords_that_differ) {
  EXPECT_EQ(make_password().size(), 16u);
  EXPECT_NE(make_password(), make_password());
}

TEST(Assets, hold_the_page_and_all_that_it_names) {
  const Asset* page = find_asset("/");
  ASSERT_NE(page, nullptr);
  std::set<std::string> named;
  const std::string text(page->bytes);
  for (size_t at = text.find("/assets/"); at != std::string::npos; at = text.find("/assets/", at + 1)) {
    named.insert(text.substr(at, text.find('"', at) - at));
  }
  EXPECT_GE(named.size(), 6u);
  for (const std::string& path : named) EXPECT_NE(find_asset(path), nullptr) << path;
  EXPECT_EQ(text.find("http://"), std::string::npos);
  EXPECT_EQ(text.find("https://"), std::string::npos);
}

TEST(Assets, are_packed_only_for_who_takes_that_and_not_sent_twice) {
  const Asset& page = *find_asset("/");
  EXPECT_EQ(asset_response(page, head_with({})).body, page.bytes);
  EXPECT_EQ(asset_response(page, head_with({{"accept-encoding", "gzip, br"}})).body, page.gzip);
  const std::string tag = "\"" + std::string(page.digest) + "\"";
  EXPECT_EQ(asset_response(page, head_with({{"if-none-match", tag}})).status, 304);
}

}  // namespace
}  // namespace gale
