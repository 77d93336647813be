#include <array>

#include "config/config.h"
#include "config/options.h"

namespace gale {

template <>
struct EnumNames<TakeoverEngine> {
  static constexpr std::array names = {std::pair{std::string_view("auto"), TakeoverEngine::kAuto},
                                       std::pair{std::string_view("beside"), TakeoverEngine::kBeside},
                                       std::pair{std::string_view("after"), TakeoverEngine::kAfter}};
};

template <>
struct EnumNames<LogLevel> {
  static constexpr std::array names = {
      std::pair{std::string_view("debug"), LogLevel::kDebug}, std::pair{std::string_view("info"), LogLevel::kInfo},
      std::pair{std::string_view("warning"), LogLevel::kWarning},
      std::pair{std::string_view("error"), LogLevel::kError}};
};

template <>
struct EnumNames<LogFormat> {
  static constexpr std::array names = {std::pair{std::string_view("text"), LogFormat::kText},
                                       std::pair{std::string_view("json"), LogFormat::kJson}};
};

template <>
struct EnumNames<Pooling> {
  static constexpr std::array names = {std::pair{std::string_view("last"), Pooling::kLast},
                                       std::pair{std::string_view("mean"), Pooling::kMean}};
};

namespace {

constexpr CommandSet kServe = in(Command::kServe);

std::vector<Option> takeover_options() {
  using enum OptionGroup;
  return {
      option<&Config::serve, &ServeConfig::takes_over>({.flag = "--takeover",
          .help = "Take the place of the gale that runs on this port, without a request lost; if there is none, just "
                  "serve.",
          .group = kRuntime, .commands = kServe}),
      option<&Config::serve, &ServeConfig::takeover_engine>({.flag = "--takeover-engine", .placeholder = "WHEN",
          .help = "beside: load while the running one serves; after: when it has left, requests wait meanwhile; auto: "
                  "beside where there is memory for two.",
          .group = kRuntime, .commands = kServe}),
      option<&Config::serve, &ServeConfig::runtime_dir>({.flag = "--runtime-dir", .placeholder = "DIR",
          .help = "Where servers of this user meet for --takeover. None: /run/gale for root, /run/user/UID/gale or "
                  "/tmp/gale-UID for others.",
          .group = kRuntime, .commands = kServe, .environment = "RUNTIME_DIRECTORY"}),
  };
}

std::vector<Option> pipeline_options() {
  using enum OptionGroup;
  using P = PipelineConfig;
  return {
      option<&Config::serve, &ServeConfig::served_model_names>({.flag = "--served-model-name", .placeholder = "NAME",
          .help = "What clients call the model; the first is the one that answers carry. None: MODEL as written.",
          .group = kModel, .commands = kServe}),
      option<&Config::serve, &ServeConfig::tokenizer>({.flag = "--tokenizer", .placeholder = "DIR",
          .help = "The folder of tokenizer.json, or a model of the Hub; none: MODEL.",
          .group = kModel, .commands = kServe}),
      option<&Config::serve, &ServeConfig::chat_template>({.flag = "--chat-template", .placeholder = "FILE",
          .help = "A Jinja template; none: the model's own.", .group = kChat, .commands = kServe}),
      option<&Config::serve, &ServeConfig::notify_socket>({.flag = "--notify-socket", .placeholder = "PATH",
          .help = "Where systemd hears that the server is ready and alive.", .group = kRuntime, .commands = kServe,
          .environment = "NOTIFY_SOCKET"}),
      option<&Config::pipeline, &P::default_max_tokens>({.flag = "--default-max-tokens", .placeholder = "N",
          .help = "Output tokens of a request that names no limit; none: what is left of the context.",
          .group = kChat, .commands = kServe, .rules = at_least(1)}),
      option<&Config::server, &ServerConfig::max_logprobs>({.flag = "--max-logprobs", .placeholder = "N",
          .help = "The most logprobs a request may ask for at each position.",
          .group = kChat, .commands = kServe, .rules = range(0, 1000)}),
      option<&Config::server, &ServerConfig::pooling>({.flag = "--pooling-type", .placeholder = "KIND",
          .help = "What /v1/embeddings gives of the final hidden states of a text: the last token's, or the mean of "
                  "all (no prefix hits then).",
          .group = kChat, .commands = kServe}),
      option<&Config::server, &ServerConfig::max_choices>({.flag = "--max-choices", .placeholder = "N",
          .help = "The most choices (n) a request may ask for.", .group = kChat, .commands = kServe,
          .environment = "VLLM_MAX_N_SEQUENCES", .rules = range(1, 4096)}),
      option<&Config::server, &ServerConfig::drops_billing_block>({.flag = "--drop-billing-block",
          .help = "On /v1/messages leave Claude Code's billing line out of the prompt: it changes each time, which "
                  "would spoil every "
                  "cached prefix.", .group = kChat, .commands = kServe}),
      option<&Config::server, &ServerConfig::max_stored_response_bytes>({.flag = "--max-stored-response-bytes",
          .placeholder = "N",
          .help = "What /v1/responses keeps for previous_response_id, in all; the least recently used go first. 0: "
                  "nothing.",
          .group = kChat, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::num_workers>({.flag = "--num-text-workers", .placeholder = "N",
          .help = "Threads for templates, tokenising and parsing.",
          .group = kRuntime, .commands = kServe, .rules = range(1, 256)}),
      option<&Config::pipeline, &P::supervisor, &SupervisorConfig::load_timeout>({.flag = "--engine-ready-timeout",
          .placeholder = "SECONDS", .help = "An engine that takes longer to load is ended and started anew.",
          .group = kRuntime, .commands = kServe, .environment = "VLLM_ENGINE_READY_TIMEOUT_S", .rules = at_least(1)}),
      option<&Config::pipeline, &P::supervisor, &SupervisorConfig::beat_timeout>({.flag = "--engine-beat-timeout",
          .placeholder = "SECONDS",
          .help = "A loaded engine that is silent for so long hangs: it is ended and started anew.",
          .group = kRuntime, .commands = kServe, .rules = at_least(1)}),
  };
}

std::vector<Option> admission_options() {
  using enum OptionGroup;
  using P = PipelineConfig;
  using A = AdmissionConfig;
  return {
      option<&Config::pipeline, &P::admission, &A::max_waiting>({.flag = "--max-num-queued-reqs", .placeholder = "N",
          .help = "Sequences that may wait; more are refused with 429. auto: four times --max-num-seqs.",
          .group = kScheduling, .commands = kServe, .rules = at_least_or(1, "auto")}),
      option<&Config::pipeline, &P::admission, &A::max_prompt_tokens>({.flag = "--max-num-queued-tokens",
          .placeholder = "N",
          .help = "Prompt tokens of all live requests; more are refused with 429. auto: eight times what the KV cache "
                  "holds.",
          .group = kScheduling, .commands = kServe, .rules = at_least_or(1, "auto")}),
      option<&Config::pipeline, &P::admission, &A::max_live_requests>({.flag = "--max-concurrent-requests",
          .placeholder = "N",
          .help = "Requests that may run and wait; more are refused with 429. 0: the queue's bounds alone.",
          .group = kScheduling, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::admission, &A::max_wait_s>({.flag = "--max-queue-wait", .placeholder = "SECONDS",
          .help = "A request that would wait longer, as things go, is refused with 429. 0: no matter how long.",
          .group = kScheduling, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::admission, &A::overload_wait>({.flag = "--overload-queue-wait",
          .placeholder = "SECONDS",
          .help = "The same once --max-num-seqs have been running nearly all the time: bursts wait, a crowd that stays "
                  "is refused early, so that those who are served are served soon. 0: off.",
          .group = kScheduling, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::admission, &A::tenants, &TenantLimitsConfig::max_live_requests>(
          {.flag = "--max-requests-per-key",
          .placeholder = "N",
          .help = "Requests of one API key that may run and wait; more are refused with 429. 0: no limit.",
          .group = kScheduling, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::admission, &A::tenants, &TenantLimitsConfig::requests_per_minute>(
          {.flag = "--requests-per-minute-per-key",
          .placeholder = "N", .help = "Requests a minute of one API key; more are refused with 429. 0: no limit.",
          .group = kScheduling, .commands = kServe, .rules = at_least(0)}),
      option<&Config::pipeline, &P::request_timeout>({.flag = "--request-timeout", .placeholder = "SECONDS",
          .help = "A request that takes longer gets 504. 0: no limit.", .group = kScheduling, .commands = kServe,
          .rules = at_least(0)}),
  };
}

std::vector<Option> http_options() {
  using enum OptionGroup;
  using S = ServerConfig;
  using H = HttpServerConfig;
  return {
      option<&Config::server, &S::http, &H::host>({.flag = "--host", .placeholder = "ADDRESS",
          .help = "The address to listen on. None: all of them, but without a key only this machine is served.",
          .group = kHttp, .commands = kServe}),
      option<&Config::server, &S::http, &H::port>({.flag = "--port", .placeholder = "N", .help = "0: any free one.",
          .group = kHttp, .commands = kServe, .rules = range(0, 65535)}),
      option<&Config::server, &S::http, &H::tls, &TlsConfig::certificate_file>({.flag = "--ssl-certfile",
          .placeholder = "FILE",
          .help = "The server's certificate in PEM form, those that signed it behind it: HTTPS instead of HTTP. Read "
                  "again at SIGHUP.",
          .group = kHttp, .commands = kServe}),
      option<&Config::server, &S::http, &H::tls, &TlsConfig::key_file>({.flag = "--ssl-keyfile", .placeholder = "FILE",
          .help = "The certificate's key in PEM form, without a passphrase.", .group = kHttp, .commands = kServe}),
      option<&Config::server, &S::http, &H::tls, &TlsConfig::ciphers>({.flag = "--ssl-ciphers", .placeholder = "LIST",
          .help = "Ciphers of TLS 1.2 as OpenSSL names them; none: OpenSSL's choice. Older versions are refused.",
          .group = kHttp, .commands = kServe}),
      option<&Config::serve, &ServeConfig::refreshes_certificate>({.flag = "--enable-ssl-refresh",
          .help = "Read certificate and key again whenever their files have changed, too.", .group = kHttp,
          .commands = kServe}),
      option<&Config::server, &S::api_keys>({.flag = "--api-key", .placeholder = "KEY",
          .help = "Requests must bring one of these as bearer token.",
          .group = kHttp, .commands = kServe, .environment = "VLLM_API_KEY"}),
      option<&Config::serve, &ServeConfig::api_key_file>({.flag = "--api-key-file", .placeholder = "FILE",
          .help = "Further keys, a line each: the SHA-256 of the key in hex, then a name if you like. Read again at "
                  "SIGHUP.",
          .group = kHttp, .commands = kServe}),
      option<&Config::server, &S::max_wrong_keys_a_minute>({.flag = "--max-wrong-keys-per-minute", .placeholder = "N",
          .help = "Wrong keys that an address may bring; more are refused with 429 and unread, as are its keys that "
                  "have not opened before. 0: no limit.",
          .group = kHttp, .commands = kServe, .rules = range(0, 1 << 20)}),
      option<&Config::server, &S::is_protected>({.flag = "--protected-mode",
          .help = "Without --host and --api-key answer only clients on this machine.", .group = kHttp,
          .commands = kServe}),
      option<&Config::server, &S::has_public_docs>({.flag = "--public-docs",
          .help = "/docs and /openapi.json need no key, so that a browser can open them; what is tried there needs "
                  "one.",
          .group = kHttp, .commands = kServe}),
      option<&Config::server, &S::allowed_origins>({.flag = "--allowed-origins", .placeholder = "ORIGIN",
          .help = "Pages of these origins may call the API from a browser.", .group = kHttp, .commands = kServe}),
      option<&Config::shutdown, &ShutdownPlan::timeout>({.flag = "--shutdown-timeout", .placeholder = "SECONDS",
          .help = "After SIGTERM or SIGINT running requests have so long to end; a second signal ends them at once.",
          .group = kHttp, .commands = kServe, .rules = at_least(0)}),
      option<&Config::shutdown, &ShutdownPlan::drain_delay>({.flag = "--drain-delay", .placeholder = "SECONDS",
          .help = "After SIGTERM new requests are still taken for so long, while /ready already says no.",
          .group = kHttp, .commands = kServe, .rules = at_least(0)}),
      option<&Config::server, &S::http, &H::num_io_threads>({.flag = "--num-io-threads", .placeholder = "N",
          .help = "Threads that read and write connections.", .group = kHttp, .commands = kServe,
          .rules = range(1, 256)}),
      option<&Config::server, &S::http, &H::max_connections>({.flag = "--max-connections", .placeholder = "N",
          .help = "Open connections; more are answered with 503 and closed.",
          .group = kHttp, .commands = kServe, .rules = at_least(1)}),
      option<&Config::server, &S::http, &H::limits, &RequestLimits::max_body_bytes>({.flag = "--max-request-bytes",
          .placeholder = "N", .help = "The largest body; larger ones get 413.",
          .group = kHttp, .commands = kServe, .rules = at_least(1)}),
      option<&Config::server, &S::http, &H::limits, &RequestLimits::max_head_bytes>(
          {.flag = "--h11-max-incomplete-event-size",
          .placeholder = "N", .help = "The largest request line with header fields; larger ones get 431.",
          .group = kHttp, .commands = kServe, .rules = at_least(256)}),
      option<&Config::server, &S::http, &H::limits, &RequestLimits::max_fields>({.flag = "--h11-max-header-count",
          .placeholder = "N", .help = "The most header fields; more get 431.",
          .group = kHttp, .commands = kServe, .rules = at_least(1)}),
      option<&Config::server, &S::http, &H::idle_timeout>({.flag = "--timeout-keep-alive", .placeholder = "SECONDS",
          .help = "An idle connection is closed after so long.",
          .group = kHttp, .commands = kServe, .environment = "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", .rules = at_least(1)}),
      option<&Config::server, &S::streams, &StreamArchiveConfig::window>({.flag = "--stream-resume-window",
          .placeholder = "SECONDS",
          .help = "A stream that asked to be resumable goes on for so long after its client was lost.",
          .group = kHttp, .commands = kServe, .rules = at_least(1)}),
      option<&Config::server, &S::streams, &StreamArchiveConfig::max_stream_bytes>({.flag = "--stream-resume-bytes",
          .placeholder = "N", .help = "Events that are kept of such a stream; older ones cannot be asked for again.",
          .group = kHttp, .commands = kServe, .rules = at_least(4096)}),
      option<&Config::server, &S::http, &H::ping_interval>({.flag = "--ping-interval", .placeholder = "SECONDS",
          .help = "A silent stream gets a comment line this often, so that nobody between closes it.",
          .group = kHttp, .commands = kServe, .rules = at_least(1)}),
  };
}

}  // namespace

std::vector<Option> server_options() {
  using enum OptionGroup;
  std::vector<Option> out = pipeline_options();
  for (Option& option : takeover_options()) out.push_back(std::move(option));
  for (Option& option : admission_options()) out.push_back(std::move(option));
  for (Option& option : http_options()) out.push_back(std::move(option));
  out.push_back(option<&Config::server, &ServerConfig::logs_access>({.flag = "--access-log",
      .help = "A line for each request, probes excepted.", .group = kLog, .commands = kServe}));
  out.push_back(option<&Config::server, &ServerConfig::stats_interval>({.flag = "--stats-interval",
      .placeholder = "SECONDS",
      .help = "How often a line tells the throughput; 0: never.",
      .group = kLog, .commands = kServe, .environment = "VLLM_LOG_STATS_INTERVAL", .rules = at_least(0)}));
  out.push_back(option<&Config::log_level>({.flag = "--log-level", .placeholder = "LEVEL",
      .help = "What is logged to stderr.",
      .group = kLog, .commands = in(Command::kServe, Command::kEngine, Command::kUi),
      .environment = "VLLM_LOGGING_LEVEL"}));
  out.push_back(option<&Config::log_format>({.flag = "--log-format", .placeholder = "FORMAT",
      .help = "json: an object a line, with time, level, role, pid, message, and a request's figures as values.",
      .group = kLog,
      .commands = in(Command::kServe, Command::kEngine, Command::kGrammarCompiler, Command::kUi, Command::kService)}));
  return out;
}

}  // namespace gale
