#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"
#include "engine/engine_config.h"
#include "engine/executor.h"
#include "engine/script.h"

namespace gale {

// An engine whose forward pass is a script; scheduler, blocks, limits and messages around it are the real ones. Waits
// by `sleep` on the loop's thread, as a forward pass would. Logprobs, if asked for, are made up: -0.25 for the token,
// then -1.25, -2.25, … for the ids above it.
[[nodiscard]] Result<std::unique_ptr<Executor>> make_scripted_executor(Script script, const EngineConfig& config,
                                                                       std::function<void(Duration)> sleep);

// The same from config.script_file, with real sleep.
[[nodiscard]] Result<std::unique_ptr<Executor>> make_scripted_executor(const EngineConfig& config);

// kOutOfMemory unless its script's card has room for it, with so many bytes more free than are.
[[nodiscard]] Status check_scripted_memory(const EngineConfig& config, int64_t freed_bytes);

}  // namespace gale
