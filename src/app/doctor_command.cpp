#include <cstdio>

#include "app/commands.h"
#include "app/examination.h"
#include "app/exit_code.h"
#include "app/model_source.h"
#include "net/server_url.h"

namespace gale {

int run_doctor(const Config& given) {
  Config config = given;
  Examination examination;
  examine_machine(examination);
  examine_gpu(examination);
  examination.heading("Memory");
  const ServerAnswers server = ask_server(config.doctor);
  const Result<ServerUrl> url = parse_server_url(config.doctor.url);
  const std::optional<Config> of_server = url ? config_of_server(url->port) : std::nullopt;
  examine_memory(examination, of_server.value_or(config), server);
  examination.heading("Ports, disk, upgrades");
  examine_ports(examination, config.doctor);
  examine_disk(examination, config);
  examine_runtime_dir(examination);
  if (!config.engine.model_dir.empty()) {
    examination.heading("Model");
    const Status found = find_cached_model(config);
    if (found) examine_model(examination, config.engine.model_dir);
    else examination.bad(found.error().message);
  }
  std::fputs(examination.text().c_str(), stdout);
  if (!config.doctor.bundle.empty()) {
    std::fflush(stdout);
    const Status written = write_bundle(config, of_server, examination, server);
    if (!written) return report(written.error());
  }
  return examination.is_fit() ? 0 : 1;
}

}  // namespace gale
