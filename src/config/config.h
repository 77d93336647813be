#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"
#include "bench/bench_config.h"
#include "engine/engine_config.h"
#include "hub/hub_config.h"
#include "net/client_tls.h"
#include "server/api_server.h"
#include "server/server_config.h"
#include "serving/engine_pipeline.h"
#include "ui/ui_config.h"

namespace gale {

inline constexpr const char* kVersion = "0.1.0";

// `gale chat`.
struct ChatConfig {
  std::string url = "http://127.0.0.1:8000/v1";
  ClientTlsConfig tls;
  std::string model_name;              // empty: the first of /v1/models
  std::string api_key;
  std::string system_prompt;
  std::string quick;                   // one question; empty: a conversation
  int max_tokens = 0;                  // 0: what the server gives
  double temperature = -1;             // below 0: the model's own
  int wait_s = 0;                      // how long the server may still be starting
  bool stats = false;                  // time to first token and tokens a second after each answer
  bool think = true;                   // let a thinking model think
};

// Where the engine of a server that takes over starts: beside the running one, or when that has left.
enum class TakeoverEngine : uint8_t { kAuto, kBeside, kAfter };

// What only `gale serve` itself has.
struct ServeConfig {
  std::vector<std::string> served_model_names;   // empty: MODEL as it was written
  std::string tokenizer;                         // tokenizer.json's folder; empty: the model's
  std::string api_key_file;                      // hashes of further keys; read again at SIGHUP
  std::string chat_template;                     // a file; empty: the model's
  bool takes_over = false;                       // the place of a server that runs on this port, if there is one
  TakeoverEngine takeover_engine = TakeoverEngine::kAuto;
  std::string runtime_dir;                       // where it is met; empty: see app/takeover_messages.h
  bool refreshes_certificate = false;  // reads certificate and key again when their files have changed
  std::string notify_socket;                     // of the service manager that started us; empty: none
};

// What only `gale engine` has.
struct EngineProcessConfig {
  int channel_fd = -1;                 // the socket to the front
  int64_t freed_later_bytes = 0;       // what a server that would leave for this one gives back; 0: none would
  bool only_looks = false;             // says whether that is enough, and ends
};

// `gale service`.
struct ServiceConfig {
  std::string action;                  // install, status, logs, upgrade, uninstall
  std::string manager = "auto";
  std::string model;
  std::string host = "127.0.0.1";      // of the API
  int port = 8000;
  std::string ui_host = "127.0.0.1";   // of the page
  int ui_port = 7860;
  std::string password;                // of the page
  std::string folder = "/var/lib/gale";   // supervisor's files and logs
  std::string program;                 // the gale that is run; empty: this one
  bool is_dry_run = false;
};

// `gale doctor`.
struct DoctorConfig {
  std::string url = "http://127.0.0.1:8000";   // of the server that is asked about its memory
  ClientTlsConfig tls;
  std::string api_key;
  int ui_port = 7860;
  std::string folder = "/var/lib/gale";        // of `gale service`
  std::vector<std::string> logs;               // further ones, for the archive
  std::string bundle;                          // the archive to write; empty: none
};

struct InspectConfig {
  bool tensors = false;                // list them
  bool kernels = false;                // print the op table
};

// `gale tune`.
struct TuneConfig {
  std::string output;                  // the table to write; empty: named after the card, in this folder
  double seconds = 600;                // what is not measured by then is left out
};

// Everything that can be set, each value in the struct of the layer that uses it. A default is what a field is born
// with.
struct Config {
  std::string config_file;             // a TOML file with further values
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  EngineConfig engine;                 // with the model's folder
  HubConfig hub;                       // where models come from that are no folders
  ServeConfig serve;
  PipelineConfig pipeline;
  ServerConfig server;
  ShutdownPlan shutdown;
  UiConfig ui;
  ServiceConfig service;
  ChatConfig chat;
  EngineProcessConfig engine_process;
  InspectConfig inspect;
  TuneConfig tune;
  DoctorConfig doctor;
  BenchConfig bench;
  LatencyConfig latency;
};

}  // namespace gale
