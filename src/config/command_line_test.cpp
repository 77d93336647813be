#include "config/command_line.h"

#include <gmock/gmock.h>

#include <set>

#include "base/mapped_file.h"
#include "base/temp_folder_testing.h"
#include "config/help.h"
#include "config/known_flags.h"

namespace gale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Invocation read(const std::vector<std::string>& arguments, const Environment& environment = {}) {
  Result<Invocation> invocation = read_command_line(arguments, environment);
  EXPECT_TRUE(invocation) << (invocation ? "" : invocation.error().message);
  return invocation ? *invocation : Invocation{};
}

std::string trouble(const std::vector<std::string>& arguments, const Environment& environment = {}) {
  const Result<Invocation> invocation = read_command_line(arguments, environment);
  if (invocation) return "";
  EXPECT_EQ(invocation.error().code, ErrorCode::kInvalidArgument);
  return invocation.error().message;
}

std::string write_config(const std::string& text) {
  static const TempFolder folder;
  return folder.write("gale.toml", text);
}

TEST(CommandLine, takes_dashes_underscores_and_equals_signs) {
  EXPECT_EQ(read({"serve", "m", "--max-num-seqs", "3"}).config.engine.scheduler.max_num_seqs, 3);
  EXPECT_EQ(read({"serve", "--max_num_seqs=3", "m"}).config.engine.scheduler.max_num_seqs, 3);
  EXPECT_EQ(read({"serve", "m"}).config.engine.model_dir, "m");
}

TEST(CommandLine, counts_take_suffixes_of_1000_and_1024) {
  const auto length = [](const std::string& text) {
    return read({"serve", "m", "--max-model-len", text}).config.engine.scheduler.max_model_len;
  };
  EXPECT_EQ(length("32k"), 32000);
  EXPECT_EQ(length("32K"), 32768);
  EXPECT_EQ(length("1.5k"), 1500);
  EXPECT_EQ(length("auto"), 0);
  EXPECT_EQ(length("-1"), 0);
}

TEST(CommandLine, a_switch_has_a_no_form) {
  EXPECT_TRUE(read({"serve", "m"}).config.engine.scheduler.enable_prefix_caching);
  EXPECT_FALSE(read({"serve", "m", "--no-enable-prefix-caching"}).config.engine.scheduler.enable_prefix_caching);
}

TEST(CommandLine, a_list_takes_several_values_and_may_repeat) {
  const Config config = read({"serve", "m", "--api-key", "a", "b", "--api-key=c"}).config;
  EXPECT_THAT(config.server.api_keys, testing::ElementsAre("a", "b", "c"));
}

TEST(CommandLine, a_list_that_took_the_model_is_named) {
  EXPECT_THAT(trouble({"serve", "--served-model-name", "a", "m"}), HasSubstr("put MODEL before it"));
}

TEST(CommandLine, an_unknown_flag_suggests_the_nearest) {
  EXPECT_THAT(trouble({"serve", "m", "--max-num-seq", "3"}), HasSubstr("did you mean --max-num-seqs?"));
  EXPECT_THAT(trouble({"sevre", "m"}), HasSubstr("did you mean gale serve?"));
}

TEST(CommandLine, a_value_out_of_its_range_is_refused_with_the_range) {
  EXPECT_THAT(trouble({"serve", "m", "--max-num-seqs", "0"}),
              HasSubstr("--max-num-seqs: expected a whole number from 1 to 1024"));
  EXPECT_THAT(trouble({"serve", "m", "--port", "many"}), HasSubstr("got 'many'"));
  EXPECT_THAT(trouble({"serve", "m", "--port"}), HasSubstr("needs a value"));
  EXPECT_THAT(trouble({"serve", "m", "--kv-cache-dtype", "int4"}), HasSubstr("auto, bfloat16, "));
}

TEST(CommandLine, too_few_and_too_many_arguments_are_refused) {
  EXPECT_THAT(trouble({"serve"}), HasSubstr("MODEL is missing"));
  EXPECT_THAT(trouble({"serve", "m", "n"}), HasSubstr("one argument too many"));
}

TEST(CommandLine, flags_without_meaning_here_are_noted) {
  const Invocation invocation = read({"serve", "m", "--trust-remote-code", "--dtype", "bfloat16"});
  EXPECT_THAT(invocation.notes,
              testing::ElementsAre(HasSubstr("--trust-remote-code has no effect"), HasSubstr("--dtype")));
}

TEST(CommandLine, flags_whose_absence_would_change_results_are_refused_unless_they_ask_for_nothing) {
  EXPECT_THAT(trouble({"serve", "m", "--quantization", "awq"}), HasSubstr("none, fp8"));
  EXPECT_EQ(read({"serve", "m", "-q", "fp8"}).config.engine.quantization, Quantization::kFp8);
  EXPECT_THAT(trouble({"serve", "m", "-tp", "2"}), HasSubstr("--tensor-parallel-size 2 is refused"));
  EXPECT_TRUE(read({"serve", "m", "-tp", "1"}).notes.empty());
}

TEST(CommandLine, another_spelling_stands_for_an_option) {
  EXPECT_FALSE(read({"serve", "m", "--disable-uvicorn-access-log"}).config.server.logs_access);
  EXPECT_EQ(read({"serve", "m", "--disable-log-stats"}).config.server.stats_interval.count(), 0);
}

TEST(CommandLine, arguments_count_before_environment_and_environment_before_file) {
  const std::string path = write_config("max-num-seqs = 5\nmax_num_batched_tokens = 100\nport = 9000\n");
  const Environment environment = {"GALE_MAX_NUM_BATCHED_TOKENS=200", "GALE_MAX_NUM_SEQS=6"};
  const Config config = read({"serve", "m", "--config", path, "--max-num-seqs=7"}, environment).config;
  EXPECT_EQ(config.engine.scheduler.max_num_seqs, 7);
  EXPECT_EQ(config.engine.scheduler.max_num_batched_tokens, 200);
  EXPECT_EQ(config.server.http.port, 9000);
}

TEST(CommandLine, environment_knows_the_names_of_vllm_and_notes_others) {
  const Invocation invocation = read({"serve", "m"}, {"VLLM_API_KEY=secret", "VLLM_NEVER_HEARD=1", "PATH=/bin"});
  EXPECT_THAT(invocation.config.server.api_keys, testing::ElementsAre("secret"));
  EXPECT_THAT(invocation.notes, testing::ElementsAre(HasSubstr("VLLM_NEVER_HEARD")));
}

TEST(CommandLine, one_config_file_serves_all_commands) {
  const std::string path = write_config("ui-port = 7000\npassword = \"p\"\nnum-iters = 3\nport = 9\n");
  EXPECT_EQ(read({"serve", "m", "--config", path}).config.server.http.port, 9);
}

TEST(CommandLine, malformed_toml_is_an_error_and_not_the_end) {
  EXPECT_THAT(trouble({"serve", "m", "--config", write_config("port = 1\n[]}x]\ny = 1\n")}), HasSubstr("gale"));
}

TEST(CommandLine, punctuation_of_other_scripts_where_toml_wants_a_value_is_an_error_and_not_the_end) {
  for (const char* text : {"port = 1 \u3001\n", "port \u3002= 1\n", "port = \u2e80 1\n", "port = 1\u30401\n"})
    EXPECT_THAT(trouble({"serve", "m", "--config", write_config(text)}), HasSubstr("gale")) << text;
}

TEST(CommandLine, a_model_that_looks_like_a_flag_reaches_the_engine) {
  const Config config = read({"serve", "--", "--m"}).config;
  EXPECT_EQ(arguments_for(Command::kEngine, config), (std::vector<std::string>{"--", "--m"}));
  EXPECT_EQ(read({"engine", "--", "--m"}).config.engine.model_dir, "--m");
}

TEST(CommandLine, an_empty_model_is_none) {
  EXPECT_THAT(trouble({"serve", ""}), HasSubstr("MODEL is empty"));
}

TEST(CommandLine, a_key_of_a_config_file_does_not_break_the_line_of_its_message) {
  EXPECT_THAT(trouble({"serve", "m", "--config", write_config("\"a\\nb\" = 1\n")}),
              AllOf(HasSubstr("'a\\nb'"), Not(HasSubstr("\n"))));
  EXPECT_THAT(trouble({"serve", "m", "--config", write_config("port.a = 1\n")}), Not(HasSubstr("\n")));
  EXPECT_THAT(trouble({"serve", "m", "--po\nrt"}), Not(HasSubstr("\n")));
}

TEST(CommandLine, a_wrong_config_file_names_the_line) {
  EXPECT_THAT(trouble({"serve", "m", "--config", write_config("port = 1\nprot = 2\n")}),
              HasSubstr(":2: unknown option 'prot'"));
  EXPECT_THAT(trouble({"serve", "m", "--config", write_config("port = = 1\n")}), HasSubstr(":1:"));
  EXPECT_THAT(trouble({"serve", "m", "--config", "/nowhere.toml"}), HasSubstr("/nowhere.toml"));
}

TEST(CommandLine, an_engine_is_started_with_the_same_config) {
  const Config config =
      read({"serve", "m", "--max-num-seqs=7", "--no-enable-prefix-caching", "--kv-cache-dtype=float32"}).config;
  std::vector<std::string> arguments = arguments_for(Command::kEngine, config);
  EXPECT_THAT(arguments, testing::UnorderedElementsAre("--max-num-seqs=7", "--enable-prefix-caching=false",
                                                       "--kv-cache-dtype=float32", "m"));
  arguments.insert(arguments.begin(), "engine");
  EXPECT_EQ(arguments_for(Command::kEngine, read(arguments).config), arguments_for(Command::kEngine, config));
}

TEST(CommandLine, an_engine_finds_a_folder_whose_name_begins_with_a_dash) {
  std::vector<std::string> arguments = arguments_for(Command::kEngine, read({"serve", "--", "--m"}).config);
  arguments.insert(arguments.begin(), "engine");
  EXPECT_EQ(read(arguments).config.engine.model_dir, "--m");
}

TEST(Help, shows_a_group_or_an_option_alone) {
  const std::string http = *command_help(Command::kServe, "http");
  EXPECT_THAT(http, HasSubstr("--port N"));
  EXPECT_THAT(http, testing::Not(HasSubstr("--max-num-seqs")));
  EXPECT_THAT(*command_help(Command::kServe, "max-num-seqs"), HasSubstr("(default: 256)"));
  EXPECT_FALSE(command_help(Command::kServe, "sheep"));
}

TEST(Help, the_options_page_is_what_the_rows_say) {
  const Result<std::string> page = read_file(GALE_SOURCE_DIR "/docs/options.md", size_t{1} << 20);
  ASSERT_TRUE(page);
  EXPECT_EQ(*page, options_page()) << "renew it: gale --help=markdown > docs/options.md";
}

TEST(Options, no_two_of_a_command_share_a_name_and_none_is_a_known_flag_of_others) {
  for (const CommandInfo& info : commands()) {
    std::set<std::string_view> names;
    for (const Option& option : all_options()) {
      if ((option.row.commands & in(info.command)) == 0) continue;
      EXPECT_TRUE(names.insert(option.row.flag).second) << info.name << " " << option.row.flag;
      if (info.command == Command::kServe) {
        EXPECT_EQ(find_known_flag(option.row.flag), nullptr) << option.row.flag;
      }
    }
  }
}

// Of vLLM's `serve`, as people type them.
constexpr std::string_view kTyped[] = {
      "--served-model-name", "--tokenizer", "--tokenizer-mode", "--revision", "--download-dir", "--load-format",
      "--hf-token", "--hf-overrides", "--config-format", "--trust-remote-code", "--dtype", "--quantization",
      "--kv-cache-dtype", "--max-model-len", "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--block-size",
      "--cpu-offload-gb", "--kv-offloading-size", "--max-num-seqs", "--max-num-batched-tokens",
      "--max-num-queued-reqs", "--max-num-queued-tokens", "--enable-chunked-prefill",
      "--long-prefill-token-threshold", "--scheduling-policy", "--async-scheduling", "--stream-interval",
      "--enable-prefix-caching", "--prefix-caching-hash-algo", "--tensor-parallel-size", "-tp",
      "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp", "--enable-expert-parallel", "--enforce-eager",
      "--cudagraph-capture-sizes", "-O", "--compilation-config", "--seed", "--speculative-config",
      "--reasoning-parser", "--tool-call-parser", "--enable-auto-tool-choice", "--chat-template",
      "--chat-template-content-format", "--default-chat-template-kwargs", "--trust-request-chat-template",
      "--generation-config", "--override-generation-config", "--max-logprobs", "--logprobs-mode",
      "--limit-mm-per-prompt", "--mm-processor-kwargs", "--mm-processor-cache-gb", "--media-io-kwargs",
      "--allowed-local-media-path", "--allowed-media-domains", "--structured-outputs-config", "--host", "--port",
      "--uds", "--api-key", "--root-path", "--allowed-origins", "--allowed-methods", "--allowed-headers",
      "--allow-credentials", "--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-ciphers",
      "--enable-ssl-refresh", "--h11-max-incomplete-event-size", "--h11-max-header-count", "--shutdown-timeout",
      "--enable-log-requests", "--enable-log-outputs", "--max-log-len", "--disable-log-stats",
      "--disable-uvicorn-access-log", "--disable-access-log-for-endpoints", "--uvicorn-log-level",
      "--enable-prompt-tokens-details", "--enable-force-include-usage", "--enable-per-request-metrics",
      "--enable-server-load-tracking", "--enable-request-id-headers", "--otlp-traces-endpoint",
      "--show-hidden-metrics-for-version", "--disable-fastapi-docs", "--enable-offline-docs",
      "--enable-tokenizer-info-endpoint", "--config"};

TEST(Options, every_flag_that_people_type_has_a_meaning_or_a_reason) {
  for (const std::string_view flag : kTyped) {
    const KnownFlag* known = find_known_flag(flag);
    EXPECT_TRUE(known != nullptr || find_option(Command::kServe, flag) != nullptr) << flag;
  }
  EXPECT_GE(std::size(kTyped), 95u);
}

TEST(Options, every_flag_of_the_load_test_that_people_type_has_a_meaning_or_a_reason) {
  for (const char* flag :
       {"--backend", "--base-url", "--host", "--port", "--endpoint", "--model", "--tokenizer", "--dataset-name",
        "--dataset-path", "--num-prompts", "--random-input-len", "--random-output-len", "--random-range-ratio",
        "--random-prefix-len", "--request-rate", "--burstiness", "--max-concurrency", "--num-warmups",
        "--ready-check-timeout-sec", "--seed", "--ignore-eos", "--temperature", "--top-p", "--top-k", "--min-p",
        "--frequency-penalty", "--presence-penalty", "--repetition-penalty", "--extra-body", "--percentile-metrics",
        "--metric-percentiles", "--goodput", "--save-result", "--save-detailed", "--append-result", "--result-dir",
        "--result-filename", "--metadata", "--ramp-up-strategy", "--ramp-up-start-rps", "--ramp-up-end-rps",
        "--probe-request-rate", "--profile", "--disable-tqdm", "--plot-timeline", "--label"}) {
    EXPECT_TRUE(find_known_bench_flag(flag) != nullptr || find_option(Command::kBenchServe, flag) != nullptr) << flag;
  }
  EXPECT_FALSE(read({"bench", "serve", "--disable-tqdm"}).config.bench.shows_progress);
  EXPECT_THAT(read({"bench", "serve", "--tokenizer", "x"}).notes, testing::ElementsAre(HasSubstr("has no effect")));
  EXPECT_THAT(trouble({"bench", "serve", "--profile"}), HasSubstr("is refused"));
}

TEST(Options, flags_of_others_are_noted_or_refused_with_their_reason_and_never_passed_over) {
  for (const KnownFlag& known : known_flags()) {
    std::vector<std::string> arguments = {"serve", "m", std::string(known.flag)};
    if (known.takes_value) arguments.emplace_back("something");
    switch (known.kind) {
      case KnownFlag::Kind::kNoted:
        EXPECT_THAT(read(arguments).notes, testing::Contains(HasSubstr(std::string(known.reason)))) << known.flag;
        break;
      case KnownFlag::Kind::kRefused:
        EXPECT_THAT(trouble(arguments), HasSubstr(std::string(known.reason))) << known.flag;
        break;
      case KnownFlag::Kind::kMeans: EXPECT_TRUE(read(arguments).notes.empty()) << known.flag; break;
    }
  }
}

TEST(Options, variables_of_vllm_are_read_or_said_to_change_nothing) {
  for (const char* name : {"VLLM_LOGGING_PREFIX", "VLLM_LOGGING_STREAM", "VLLM_CACHE_ROOT",
                           "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH",
                           "VLLM_SERVER_DEV_MODE", "VLLM_MAX_COMPLETION_PROMPTS", "VLLM_MAX_STOP_STRINGS",
                           "VLLM_REGEX_COMPILATION_TIMEOUT_S", "VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS",
                           "VLLM_IMAGE_FETCH_TIMEOUT", "VLLM_VIDEO_FETCH_TIMEOUT", "VLLM_MEDIA_URL_ALLOW_REDIRECTS",
                           "VLLM_USE_MODELSCOPE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"}) {
    const Invocation invocation = read({"serve", "m"}, {std::string(name) + "=1"});
    EXPECT_THAT(invocation.notes, testing::ElementsAre(HasSubstr("changes nothing: "))) << name;
  }
  const Config config = read({"serve", "m"}, {"VLLM_API_KEY=k", "VLLM_LOGGING_LEVEL=debug", "VLLM_LOG_STATS_INTERVAL=7",
                                              "VLLM_HTTP_TIMEOUT_KEEP_ALIVE=8", "VLLM_ENGINE_READY_TIMEOUT_S=9",
                                              "VLLM_MAX_N_SEQUENCES=10"})
                            .config;
  EXPECT_THAT(config.server.api_keys, testing::ElementsAre("k"));
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_EQ(config.server.stats_interval, std::chrono::seconds(7));
  EXPECT_EQ(config.server.http.idle_timeout, std::chrono::seconds(8));
  EXPECT_EQ(config.pipeline.supervisor.load_timeout, std::chrono::seconds(9));
  EXPECT_EQ(config.server.max_choices, 10);
}

TEST(Options, proxies_of_the_environment_are_for_the_hub) {
  const Config config =
      read({"serve", "m"}, {"HTTP_PROXY=a", "https_proxy=b", "HTTPS_PROXY=c", "NO_PROXY=d", "no_proxy="}).config;
  EXPECT_EQ(config.hub.proxy.http, "a");
  EXPECT_EQ(config.hub.proxy.https, "b");
  EXPECT_EQ(config.hub.proxy.none, "d");
}

TEST(Options, every_default_is_a_value_that_its_own_option_takes) {
  for (const Option& option : all_options()) {
    Config config;
    const std::vector<std::string> values = option.show(config);
    const bool is_unset = values.empty() || values[0] == "-1";   // -1: not given, as of --channel-fd
    if (!is_unset) {
      EXPECT_TRUE(option.set(config, values)) << option.row.flag << " " << values[0];
    }
  }
}

}  // namespace
}  // namespace gale
