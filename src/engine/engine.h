#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "channel/channel.h"
#include "engine/engine_config.h"
#include "engine/executor.h"
#include "engine/memory_plan.h"

namespace gale {

class Device;
class Model;
struct OpTable;
struct ProductShape;

// Loads the checkpoint of config.model_dir onto the device, plans and takes all memory; prints the plan. Errors: what
// load_model says; kOutOfMemory, saying what is missing and which options help.
[[nodiscard]] Result<std::unique_ptr<Executor>> make_model_executor(
    const EngineConfig& config, Device& device, const OpTable& ops,
    const std::function<void(double fraction)>& on_progress = {});

// The same for a model that is loaded already.
[[nodiscard]] Result<std::unique_ptr<Executor>> make_executor_for(std::unique_ptr<Model> model,
                                                                  const EngineConfig& config, Device& device,
                                                                  const OpTable& ops);

// What make_model_executor would plan, before anything is loaded; errors are the same. With so many bytes more free
// than are.
[[nodiscard]] Result<MemoryPlan> plan_serving(const EngineConfig& config, Device& device, const OpTable& ops,
                                              int64_t freed_bytes = 0);

// What the model of the config multiplies by on this device, with the config's precision; nothing is loaded.
[[nodiscard]] Result<std::vector<ProductShape>> products_of_model(const EngineConfig& config, Device& device,
                                                                  const OpTable& ops);

// Serves until the channel closes. Returns the process's exit code: 0, or 70 after a Fault.
[[nodiscard]] int run_engine(EngineChannel& channel, Executor& executor, const EngineConfig& config);

// Runs sequences to their ends without a channel, all submitted before the first step; for tests and tools. outputs[i]
// holds all tokens of submits[i], merged into one. token_layers: Scheduler::limit_layered_prefill.
[[nodiscard]] Result<std::vector<SequenceOutput>> generate_offline(Executor& executor,
                                                                   const std::vector<Submit>& submits,
                                                                   std::optional<int64_t> token_layers = {});

}  // namespace gale
