#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "base/log.h"
#include "channel/socket_channel.h"
#include "engine/engine.h"
#include "engine/scripted_executor.h"
#include "ops/op_table.h"
#include "tensor/device.h"

namespace gale {
namespace {

// `chosen` must outlive the executor.
Result<std::unique_ptr<Executor>> make_executor(const EngineConfig& config, ChosenDevice& chosen) {
  if (!config.script_file.empty()) return make_scripted_executor(config);
  GALE_ASSIGN(chosen, choose_device(config));
  log_info("computing on {}", chosen.device->caps().name);
  return make_model_executor(config, *chosen.device, *chosen.ops);
}

}  // namespace

int run_engine_process(const Config& config) {
  set_log_name("engine");
  set_log_level(config.log_level);
  if (config.engine_process.channel_fd < 0) {
    return report({ErrorCode::kInvalidArgument, "gale engine computes for a front that starts it: use gale serve"});
  }
  const auto channel = open_inherited_engine_channel(config.engine_process.channel_fd, {.build_id = kVersion});
  if (!channel) return report(channel.error());
  ChosenDevice device;
  const auto executor = make_executor(config.engine, device);
  if (!executor) {
    // The front tells people; if it is gone there is nobody to tell.
    if (!(*channel)->send(Fault{executor.error()})) log_error("{}", executor.error().message);
    return exit_code(executor.error().code);
  }
  return run_engine(**channel, **executor, config.engine);
}

}  // namespace gale
