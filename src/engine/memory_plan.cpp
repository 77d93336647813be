#include "engine/memory_plan.h"

#include <algorithm>

namespace gale {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kDefaultCpuBudget = 4 * kGiB;

double gib(int64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(kGiB); }

// Bytes that KV blocks may take; negative if the rest is too large already.
int64_t kv_budget(const MemoryDemand& demand, const EngineConfig& config) {
  if (config.kv_cache_memory_bytes > 0) return config.kv_cache_memory_bytes;
  if (!demand.is_gpu) return std::min(kDefaultCpuBudget, demand.free_bytes / 4);
  const auto ours = static_cast<int64_t>(config.gpu_memory_utilization * static_cast<double>(demand.total_bytes));
  return ours - (demand.total_bytes - demand.free_bytes) - demand.workspace_bytes;
}

std::string budget_options(const MemoryDemand& demand) {
  return demand.is_gpu ? "raise --gpu-memory-utilization or lower --max-model-len, --max-num-seqs or --max-num-batched-tokens"
                       : "raise --kv-cache-memory-bytes or lower --max-model-len, --max-num-seqs or --max-num-batched-tokens";
}

int64_t blocks_for(int64_t num_tokens, int block_size) { return (num_tokens + block_size - 1) / block_size; }

}  // namespace

Result<MemoryPlan> plan_memory(const MemoryDemand& demand, const EngineConfig& config) {
  MemoryPlan plan{.demand = demand, .scheduler = config.scheduler};
  SchedulerConfig& scheduler = plan.scheduler;
  if (scheduler.block_size == 0) scheduler.block_size = demand.is_gpu ? 64 : 16;
  if (scheduler.max_model_len > demand.max_position_embeddings) {
    return fail_param(ErrorCode::kInvalidArgument, "max-model-len", "--max-model-len {} is more than the model's {}",
                      scheduler.max_model_len, demand.max_position_embeddings);
  }
  const bool is_capped = scheduler.max_model_len == 0;
  if (is_capped) scheduler.max_model_len = demand.max_position_embeddings;

  const int64_t block_bytes = demand.kv_bytes_per_token * scheduler.block_size;
  const int64_t budget = kv_budget(demand, config);
  const int64_t blocks_of_one = blocks_for(scheduler.max_model_len, scheduler.block_size);
  int64_t num_blocks = scheduler.num_blocks > 0 ? scheduler.num_blocks : std::max<int64_t>(0, budget) / block_bytes;
  // More than all slots can fill would never be used.
  if (scheduler.num_blocks == 0) num_blocks = std::min(num_blocks, blocks_of_one * scheduler.max_num_seqs);
  if (is_capped) {
    scheduler.max_model_len = static_cast<int>(std::min<int64_t>(scheduler.max_model_len, num_blocks * scheduler.block_size));
  }
  const int64_t needed = is_capped ? 1 : blocks_of_one;
  if (num_blocks < needed) {
    return fail(ErrorCode::kOutOfMemory,
                "one sequence of {} tokens needs {:.2f} GiB of KV cache ({} bytes a token, {}), {:.2f} GiB are planned for it beside "
                "{:.2f} GiB of weights and {:.2f} GiB of workspace: {}",
                is_capped ? scheduler.block_size : scheduler.max_model_len, gib(needed * block_bytes), demand.kv_bytes_per_token,
                demand.attention_form, gib(std::max<int64_t>(0, num_blocks * block_bytes)), gib(demand.weight_bytes),
                gib(demand.workspace_bytes), budget_options(demand));
  }
  scheduler.num_blocks = num_blocks;
  plan.kv_bytes = num_blocks * block_bytes;
  const int64_t taken = plan.kv_bytes + demand.workspace_bytes;
  if (taken > demand.free_bytes) {
    return fail(ErrorCode::kOutOfMemory, "KV cache and workspace need {:.2f} GiB, {:.2f} GiB more than is free: {}", gib(taken),
                gib(taken - demand.free_bytes), budget_options(demand));
  }
  plan.num_users = static_cast<int>(
      std::min<int64_t>(scheduler.max_num_seqs, num_blocks / blocks_for(scheduler.max_model_len, scheduler.block_size)));
  return plan;
}

std::string MemoryPlan::describe() const {
  const int64_t num_tokens = scheduler.num_blocks * scheduler.block_size;
  return fmt::format(
      "Weights: {:.2f} GiB. Workspace: {:.2f} GiB.\n"
      "Available KV cache memory: {:.2f} GiB: {} blocks of {} tokens, {} bytes a token ({})\n"
      "{} KV cache size: {} tokens\n"
      "Maximum concurrency for {} tokens per request: {:.2f}x\n"
      "Memory plan: {} users x {} tokens",
      gib(demand.weight_bytes), gib(demand.workspace_bytes), gib(kv_bytes), scheduler.num_blocks, scheduler.block_size,
      demand.kv_bytes_per_token, demand.attention_form, demand.is_gpu ? "GPU" : "CPU", num_tokens, scheduler.max_model_len,
      static_cast<double>(num_tokens) / scheduler.max_model_len, num_users, scheduler.max_model_len);
}

}  // namespace gale
