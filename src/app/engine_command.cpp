#include <cstdlib>

#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "base/last_words.h"
#include "base/log.h"
#include "base/units.h"
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

std::string gib_text(int64_t bytes) { return fmt::format("{:.2f} GiB", gib(bytes)); }

Status check_memory(const EngineConfig& config, const ChosenDevice& chosen, int64_t freed_bytes) {
  if (!config.script_file.empty()) return check_scripted_memory(config, freed_bytes);
  const Result<MemoryPlan> plan = plan_serving(config, *chosen.device, *chosen.ops, freed_bytes);
  return plan ? Status() : tl::unexpected(plan.error());
}

// Whether there is memory once the server that would leave for this one has left.
Status check_later(const Config& config, const ChosenDevice& chosen) {
  const int64_t freed = config.engine_process.freed_later_bytes;
  const Status later = check_memory(config.engine, chosen, freed);
  if (later || later.error().code != ErrorCode::kOutOfMemory) return later;
  return fail_param(ErrorCode::kOutOfMemory, later.error().param,
                    "the running server gives {} back when it leaves, and even then {}", gib_text(freed),
                    later.error().message);
}

// For want of memory beside a server that would leave for this one: kBusy if there is enough once it has left.
Error look_ahead(const Error& lack, const Config& config, const ChosenDevice& chosen) {
  const int64_t freed = config.engine_process.freed_later_bytes;
  if (lack.code != ErrorCode::kOutOfMemory || freed == 0) return lack;
  if (const Status later = check_later(config, chosen); !later) return later.error();
  return {ErrorCode::kBusy, fmt::format("{}; the running server gives {} back when it leaves, which is enough",
                                        lack.message, gib_text(freed))};
}

// The same of a server that leaves in any case: nothing is loaded.
Error look_only(const Config& config) {
  ChosenDevice chosen;
  if (config.engine.script_file.empty()) {
    Result<ChosenDevice> device = choose_device(config.engine);
    if (!device) return device.error();
    chosen = std::move(*device);
  }
  if (const Status later = check_later(config, chosen); !later) return later.error();
  return {ErrorCode::kBusy, fmt::format("The {} that the running server gives back are enough",
                                        gib_text(config.engine_process.freed_later_bytes))};
}

// A CHECK that fails because the card is lost is no mistake of ours: the front hears the cause, and the exit code says
// so.
void tell_when_the_card_is_lost(EngineChannel& channel) {
  set_last_words([&channel](const std::string&) {
    const std::optional<std::string> failure = cuda_failure();
    if (!failure) return;
    log_error("{}; this engine cannot go on", *failure);
    (void)channel.send(Fault{{ErrorCode::kInternal, *failure, ""}});
    std::_Exit(kExitDevice);
  });
}

}  // namespace

int run_engine_process(const Config& config) {
  if (config.engine_process.channel_fd < 0) {
    return report({ErrorCode::kInvalidArgument, "gale engine computes for a front that starts it: use gale serve"});
  }
  const auto channel = open_inherited_engine_channel(config.engine_process.channel_fd, {.build_id = kVersion});
  if (!channel) return report(channel.error());
  tell_when_the_card_is_lost(**channel);
  // The front tells people; if it is gone there is nobody to tell.
  const auto give_up = [&](const Error& error) {
    if (!(*channel)->send(Fault{error})) log_error("{}", error.message);
    return exit_code(error.code);
  };
  if (config.engine_process.only_looks) return give_up(look_only(config));
  ChosenDevice device;
  const auto executor = make_executor(config.engine, device);
  if (!executor) return give_up(look_ahead(executor.error(), config, device));
  const int code = run_engine(**channel, **executor, config.engine);
  set_last_words({});
  return code;
}

}  // namespace gale
