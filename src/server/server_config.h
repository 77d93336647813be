#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "net/http_server.h"
#include "request/messages.h"
#include "server/stream_archive_config.h"

namespace gale {

struct ServerConfig {
  HttpServerConfig http;                             // host empty: all interfaces, see is_protected
  std::vector<std::string> api_keys;                 // any of them opens; empty: no key is asked for
  int max_wrong_keys_a_minute = 60;                  // that an address may bring; 0: no limit
  bool has_key_file = false;                         // further keys come by ApiServer::set_file_keys
  bool is_protected = true;                          // without a key and an explicit host only this machine is served
  bool has_public_docs = false;                      // /docs and /openapi.json need no key
  std::vector<std::string> allowed_origins = {"*"};  // CORS
  int max_choices = 128;                             // n of a request
  int max_logprobs = 20;
  Pooling pooling = Pooling::kLast;                  // of /v1/embeddings; not kNone
  bool drops_billing_block = true;                   // of Claude Code's system prompts on /v1/messages
  size_t max_stored_response_bytes = size_t{64} << 20;   // of /v1/responses, for previous_response_id
  StreamArchiveConfig streams;                       // those that clients may take up again
  bool logs_access = true;                           // a line a request, probes excepted
  std::chrono::seconds stats_interval{10};           // of the throughput line; 0: never
  std::string version = "0.1.0";
};

}  // namespace gale
