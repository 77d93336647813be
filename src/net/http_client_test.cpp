#include "net/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "base/unique_fd.h"

namespace gale {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ServerUrl, is_taken_apart) {
  const ServerUrl url = *parse_server_url("http://127.0.0.1:8000/v1/");
  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, 8000);
  EXPECT_EQ(url.prefix, "/v1");
  EXPECT_EQ(parse_server_url("http://[::1]:81")->host, "::1");
  EXPECT_EQ(parse_server_url("http://name")->port, 80);
  EXPECT_FALSE(parse_server_url("http://name")->tls);
  EXPECT_TRUE(parse_server_url("https://name")->tls);
  EXPECT_EQ(parse_server_url("https://name")->port, 443);
  EXPECT_EQ(parse_server_url("https://name:8443/v1")->port, 8443);
  for (const char* bad : {"ftp://name", "https://", "name:8000", "http://name:0", "http://name:x", "http://"}) {
    EXPECT_FALSE(parse_server_url(bad)) << bad;
  }
}

std::string proxy_of(const ProxyConfig& config, const char* server) {
  const auto proxy = proxy_for(config, *parse_server_url(server));
  if (!proxy) return proxy.error().message;
  return *proxy ? fmt::format("{}:{} {}", (*proxy)->host, (*proxy)->port, (*proxy)->authorization) : "";
}

TEST(Proxy, is_that_of_the_scheme_unless_the_host_is_excepted) {
  const ProxyConfig config{.http = "http://plain:81", .https = "secure:82/", .none = "localhost, .a.org,b.org:444,::1"};
  EXPECT_EQ(proxy_of(config, "http://name"), "plain:81 ");
  EXPECT_EQ(proxy_of(config, "https://name"), "secure:82 ");
  EXPECT_EQ(proxy_of({.http = "plain"}, "https://name"), "");
  for (const char* direct : {"https://localhost:5", "https://a.org", "https://x.A.org", "https://b.org:444",
                             "https://c.b.org:444", "http://[::1]"})
    EXPECT_EQ(proxy_of(config, direct), "") << direct;
  for (const char* through : {"https://xa.org", "https://b.org", "https://a.org.evil", "https://org"})
    EXPECT_EQ(proxy_of(config, through), "secure:82 ") << through;
  EXPECT_EQ(proxy_of({.https = "http://p", .none = "*"}, "https://name"), "");
}

TEST(Proxy, shows_a_name_and_password_but_never_tells_them) {
  EXPECT_EQ(proxy_of({.http = "http://me%40here:p%3aw@p:81"}, "http://name"), "p:81 Basic bWVAaGVyZTpwOnc=");
  for (const char* bad :
       {"socks5://me:secret@p:1", "https://me:secret@p:1", "http://me:secret@p:x", "http://me:secret@"}) {
    const auto proxy = proxy_for({.http = bad}, *parse_server_url("http://name"));
    ASSERT_FALSE(proxy) << bad;
    EXPECT_THAT(proxy.error().message, HasSubstr("HTTP_PROXY"));
    EXPECT_THAT(proxy.error().message, testing::Not(HasSubstr("secret")));
  }
}

TEST(EventReader, does_not_depend_on_how_bytes_are_cut) {
  const std::string stream = "data: {\"a\":1}\n\n: ping\n\ndata: two\r\n\r\ndata: [DONE]\n\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EventReader reader;
    std::vector<std::string> events;
    const auto note = [&](std::string_view data) {
      events.emplace_back(data);
      return true;
    };
    EXPECT_TRUE(reader.append(stream.substr(0, cut), note));
    EXPECT_TRUE(reader.append(stream.substr(cut), note));
    EXPECT_THAT(events, ElementsAre("{\"a\":1}", "two", "[DONE]"));
  }
}

TEST(HttpClient, nobody_listening_is_an_error_that_says_where) {
  HttpClient client({.host = "127.0.0.1", .port = 1});
  const Result<ClientResponse> response = client.send({.target = "/health"});
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr("127.0.0.1:1"));
}

// A server that never ends what it began: the client must not keep all of it.
TEST(HttpClient, a_chunk_whose_size_never_ends_is_given_up) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::jthread server([&listener] {
    const UniqueFd client(::accept(listener.get(), nullptr, nullptr));
    std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    while (::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0) text = std::string(4096, '1');
  });
  HttpClient client({.host = "127.0.0.1", .port = ntohs(address.sin_port)});
  const Result<ClientResponse> response = client.send({.target = "/"});
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("not chunked"));
}

TEST(ClientTls, a_file_without_certificates_is_named) {
  const auto url = parse_server_url("https://name", {.ca_file = "/dev/null"});
  ASSERT_FALSE(url);
  EXPECT_THAT(url.error().message, HasSubstr("/dev/null"));
}

}   // namespace
}   // namespace gale
