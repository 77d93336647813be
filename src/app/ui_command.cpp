#include <chrono>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/signals.h"
#include "base/log.h"
#include "ui/ui_server.h"

namespace gale {

int run_ui(const Config& config) {
  const StopSignals signals;
  const Result<std::unique_ptr<UiServer>> server = UiServer::start(config.ui);
  if (!server) return report(server.error());
  log_info("The page is on {}, the API behind it is {}", (*server)->url(), config.ui.api_url);
  if (!(*server)->made_password().empty()) {
    log_info("Others reach this address, so the page asks for a password, made for this run: {}",
             (*server)->made_password());
  }
  while (!signals.wait(std::chrono::milliseconds(1000))) {
    if (signals.wants_other_log_level()) switch_log_level(config.log_level);
  }
  log_info("The page has stopped; the API goes on without it.");
  return 0;
}

}  // namespace gale
