#pragma once

#include <memory>

#include "base/result.h"
#include "engine/batch_builder.h"
#include "engine/engine_config.h"
#include "engine/executor.h"
#include "engine/kv_allocation.h"
#include "engine/memory_plan.h"
#include "engine/pooling_internal.h"
#include "models/model.h"
#include "ops/op_table.h"
#include "sampling/sampler.h"
#include "sampling/staging.h"

namespace gale {

// What a device cannot do, before anything is loaded.
[[nodiscard]] Status check_precision(const EngineConfig& config, const Device& device);

// Steps under way at once: two where the device computes while the host prepares.
[[nodiscard]] int max_in_flight(const Device& device);

// What a step needs beside weights and cache, for a scheduler whose limits may still be open.
[[nodiscard]] size_t step_bytes(const Model& model, const EngineConfig& config, SchedulerConfig scheduler,
                                const Device& device, const OpTable& table);
// What is known of a model on this device: all but workspace_bytes.
[[nodiscard]] MemoryDemand demand_of(const ModelInfo& info, const KvLayout& layout, const EngineConfig& config,
                                     const Device& device);

// Memory and machinery of a step, all taken before serving.
struct StepState {
  std::unique_ptr<Stream> stream;
  Arena workspace, kv_memory, logits_memory, attention_memory, layered_memory;
  KvStore kv;
  Staging row_list;
  std::unique_ptr<BatchBuilder> batch;
  std::unique_ptr<Sampler> sampler;
  Pooler pooler;
};
[[nodiscard]] Result<StepState> take_memory(const Model& model, const EngineConfig& config,
                                            const SchedulerConfig& scheduler, Device& device, const OpTable& table);

// What runs a loaded model in this memory.
[[nodiscard]] std::unique_ptr<Executor> make_model_executor_of(std::unique_ptr<Model> model, Device& device,
                                                               const OpTable& ops, Executor::Info info, StepState state,
                                                               bool uses_graphs);

}  // namespace gale
