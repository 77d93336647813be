#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "engine/engine_config.h"

namespace gale {

// What is known before KV blocks are taken. Plain numbers, so that `inspect` can ask without a device.
struct MemoryDemand {
  bool is_gpu = false;
  bool has_experts = false;
  int num_layers = 0;
  int64_t total_bytes = 0;             // of the card, or of the machine
  int64_t free_bytes = 0;              // with the weights loaded (or, before that, less weight_bytes)
  int64_t weight_bytes = 0;
  int64_t workspace_bytes = 0;         // activations, logits, step buffers
  int64_t kv_bytes_per_token = 0;      // all layers
  std::string attention_form;          // "MLA, 576 values a token and layer"
  int max_position_embeddings = 0;     // the model's own limit
  bool can_shrink_weights = false;     // 16-bit weights on a device that computes with FP8
  bool can_shrink_kv = false;          // a 16-bit cache on a device that has an FP8 one
};

struct MemoryPlan {
  MemoryDemand demand;
  SchedulerConfig scheduler;           // every field resolved
  int64_t kv_bytes = 0;                // all blocks
  int num_users = 0;                   // sequences of max_model_len that fit at once, at most max_num_seqs

  // Several lines: weights, workspace, KV blocks, "N users x M tokens".
  [[nodiscard]] std::string describe() const;
};

// The fields of prompts that go by layers, from what they and the limits of a step are so far.
void resolve_layered_prefill(SchedulerConfig& scheduler, bool is_gpu, int num_layers);

// Before weights are loaded, with free_bytes as it is then: kOutOfMemory unless they fit beside the staging_bytes that
// loading takes for a while; says how much is missing, who else holds memory, and which options help.
[[nodiscard]] Status check_weights_fit(const MemoryDemand& demand, int64_t staging_bytes, const EngineConfig& config);

// Splits the memory. kInvalidArgument: --max-model-len beyond the model; kOutOfMemory: not even one sequence of
// max_model_len fits; says by how much and which options help.
[[nodiscard]] Result<MemoryPlan> plan_memory(const MemoryDemand& demand, const EngineConfig& config);

}  // namespace gale
