#pragma once

#include <optional>
#include <string>

#include "config/config.h"

namespace gale {

// Findings, a line each: a "!!" keeps gale from serving, a "--" is worth knowing and says what to do.
class Examination {
 public:
  void good(const std::string& text) { add("ok  ", text); }
  void note(const std::string& text) { add("--  ", text); }
  void bad(const std::string& text) {
    add("!!  ", text);
    is_fit_ = false;
  }
  void heading(const std::string& text) { text_ += "\n" + text + "\n"; }
  [[nodiscard]] bool is_fit() const { return is_fit_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void add(const char* mark, const std::string& text) { (text_ += mark) += text + "\n"; }

  std::string text_;
  bool is_fit_ = true;
};

// What a server that runs told of itself; empty where none answers.
struct ServerAnswers {
  std::string info;                    // /server_info
  std::string metrics;                 // /metrics
  std::string trouble;                 // why there is nothing
};
[[nodiscard]] ServerAnswers ask_server(const DoctorConfig& config);

// How the `gale serve` that listens on a port of this machine was started; nothing if there is none that may be looked
// into.
[[nodiscard]] std::optional<Config> config_of_server(int port);

// Each adds its findings.
void examine_machine(Examination& examination);
void examine_gpu(Examination& examination);
void examine_memory(Examination& examination, const Config& config, const ServerAnswers& server);
void examine_ports(Examination& examination, const DoctorConfig& config);
void examine_disk(Examination& examination, const Config& config);
void examine_runtime_dir(Examination& examination);
void examine_model(Examination& examination, const std::string& model_dir);

// A support archive: the findings, versions, settings, metrics and the end of the logs, without keys, passwords and
// prompts. `of_server`: how the one that runs was started. kForbidden: the file cannot be written.
[[nodiscard]] Status write_bundle(const Config& config, const std::optional<Config>& of_server,
                                  const Examination& examination, const ServerAnswers& server);

}  // namespace gale
