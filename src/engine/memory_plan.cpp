#include "engine/memory_plan.h"

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace gale {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kDefaultCpuBudget = 4 * kGiB;
// On a GPU: gaps in an answer of less than 30 ms; experts, whose products need more tokens to be worth their weights:
// less than 40.
constexpr int kMixedStepMs = 26, kMixedStepMsOfExperts = 37;
constexpr int kMixedStepGrain = 256;   // tokens of the widest tiles of a GPU's products
constexpr int kLayeredContext = 8192;  // from about here on attention is most of what a prompt's tokens cost
constexpr int kMaxLayeredTokens = 4096;

// Bytes that KV blocks may take; negative if the rest is too large already.
int64_t kv_budget(const MemoryDemand& demand, const EngineConfig& config) {
  if (config.kv_cache_memory_bytes > 0) return config.kv_cache_memory_bytes;
  if (!demand.is_gpu) return std::min(kDefaultCpuBudget, demand.free_bytes / 4);
  const auto ours = static_cast<int64_t>(config.gpu_memory_utilization * static_cast<double>(demand.total_bytes));
  return ours - (demand.total_bytes - demand.free_bytes) - demand.workspace_bytes;
}

constexpr double kShrunkWeights = 0.55;  // of 16-bit weights, scales and what stays 16-bit included; an estimate
constexpr double kMaxUtilization = 0.97;          // of a card; the rest is the driver's, graphs' and kernels'
constexpr int kWorthwhileLength = 256;            // a shorter sequence is no answer to anything

// What neither the weights nor gale's budget knows of.
int64_t held_by_others(const MemoryDemand& demand) {
  return demand.total_bytes - demand.free_bytes - demand.weight_bytes;
}

std::string others(const MemoryDemand& demand) {
  const int64_t held = held_by_others(demand);
  if (!demand.is_gpu || held < kGiB) return "";
  return fmt::format("; other processes hold {:.2f} GiB of the card (nvidia-smi lists them)", gib(held));
}

// Which options would make room for `needed` bytes of cache, of which `budget` are there: those that are known to
// suffice.
std::string ways_to_fit(const MemoryDemand& demand, const EngineConfig& config, int64_t needed, int64_t budget,
                        int64_t longest) {
  std::string ways;
  const auto add = [&ways](const std::string& way) { ways += (ways.empty() ? "" : ", ") + way; };
  if (demand.is_gpu && config.kv_cache_memory_bytes == 0) {
    const auto all =
        static_cast<double>(held_by_others(demand) + demand.weight_bytes + demand.workspace_bytes + needed);
    const double share = std::ceil(all / static_cast<double>(demand.total_bytes) * 100) / 100;
    if (share <= kMaxUtilization) add(fmt::format("--gpu-memory-utilization {:.2f}", share));
  } else if (!demand.is_gpu || config.kv_cache_memory_bytes > 0) {
    if (needed + demand.workspace_bytes <= demand.free_bytes) add(fmt::format("--kv-cache-memory-bytes {}", needed));
  }
  if (longest >= kWorthwhileLength) add(fmt::format("--max-model-len {}", longest));
  if (demand.can_shrink_kv && needed / 2 <= budget) add("--kv-cache-dtype fp8");
  const auto saved = static_cast<int64_t>((1 - kShrunkWeights) * static_cast<double>(demand.weight_bytes));
  if (demand.can_shrink_weights && needed <= budget + saved)
    add(fmt::format("--quantization fp8 (about {:.1f} GiB less)", gib(saved)));
  add("a lower --max-num-seqs or --max-num-batched-tokens (less workspace)");
  return ways;
}

int64_t blocks_for(int64_t num_tokens, int block_size) { return (num_tokens + block_size - 1) / block_size; }

}  // namespace

Status check_weights_fit(const MemoryDemand& demand, int64_t staging_bytes, const EngineConfig& config) {
  const int64_t needed = demand.weight_bytes + staging_bytes;
  if (needed <= demand.free_bytes) return {};
  MemoryDemand before = demand;
  before.weight_bytes = 0;                        // not loaded: what is not free belongs to others
  std::string help = demand.is_gpu && demand.total_bytes < needed ? "a card with more memory" : "free memory";
  const auto shrunk = static_cast<int64_t>(kShrunkWeights * static_cast<double>(demand.weight_bytes));
  if (demand.can_shrink_weights && config.quantization == Quantization::kNone &&
      shrunk + staging_bytes <= demand.total_bytes)
    help = fmt::format("--quantization fp8 (weights of about {:.1f} GiB{}), or {}", gib(shrunk),
                       shrunk + staging_bytes <= demand.free_bytes ? ", which fit" : "", help);
  return fail(ErrorCode::kOutOfMemory,
              "the weights take {:.2f} GiB and loading them {:.2f} more; {:.2f} of {:.2f} GiB of memory are free: "
              "{:.2f} GiB are missing{}. "
              "What helps: {}",
              gib(demand.weight_bytes), gib(staging_bytes), gib(demand.free_bytes), gib(demand.total_bytes),
              gib(needed - demand.free_bytes), others(before), help);
}

void resolve_layered_prefill(SchedulerConfig& scheduler, bool is_gpu, int num_layers) {
  scheduler.num_layers = num_layers;
  if (scheduler.mixed_step_grain == 0) scheduler.mixed_step_grain = is_gpu ? kMixedStepGrain : 1;
  if (scheduler.layered_context == 0 && is_gpu) scheduler.layered_context = kLayeredContext;
  if (scheduler.max_layered_tokens == 0 && scheduler.layered_context > 0)
    scheduler.max_layered_tokens = kMaxLayeredTokens;
  scheduler.max_layered_tokens = std::min(scheduler.max_layered_tokens, scheduler.max_num_batched_tokens);
}

Result<MemoryPlan> plan_memory(const MemoryDemand& demand, const EngineConfig& config) {
  MemoryPlan plan{.demand = demand, .scheduler = config.scheduler};
  SchedulerConfig& scheduler = plan.scheduler;
  if (scheduler.block_size == 0) scheduler.block_size = demand.is_gpu ? 64 : 16;
  if (scheduler.max_mixed_step_ms == 0 && demand.is_gpu)
    scheduler.max_mixed_step_ms = demand.has_experts ? kMixedStepMsOfExperts : kMixedStepMs;
  resolve_layered_prefill(scheduler, demand.is_gpu, demand.num_layers);
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
    scheduler.max_model_len =
        static_cast<int>(std::min<int64_t>(scheduler.max_model_len, num_blocks * scheduler.block_size));
  }
  const int64_t needed = is_capped ? 1 : blocks_of_one;
  if (num_blocks < needed) {
    return fail(ErrorCode::kOutOfMemory,
                "one sequence of {} tokens needs {:.2f} GiB of KV cache ({} bytes a token, {}), {:.2f} GiB are planned "
                "for it beside {:.2f} GiB of weights and {:.2f} GiB of workspace: {:.2f} GiB are missing{}. "
                "What helps: {}",
                is_capped ? scheduler.block_size : scheduler.max_model_len, gib(needed * block_bytes),
                demand.kv_bytes_per_token, demand.attention_form, gib(std::max<int64_t>(0, num_blocks * block_bytes)),
                gib(demand.weight_bytes), gib(demand.workspace_bytes), gib(needed * block_bytes - budget),
                others(demand),
                ways_to_fit(demand, config, needed * block_bytes, budget, num_blocks * scheduler.block_size));
  }
  scheduler.num_blocks = num_blocks;
  plan.kv_bytes = num_blocks * block_bytes;
  const int64_t taken = plan.kv_bytes + demand.workspace_bytes;
  if (taken > demand.free_bytes) {
    const int64_t budget_left = demand.free_bytes - demand.workspace_bytes;
    return fail(ErrorCode::kOutOfMemory,
                "KV cache and workspace need {:.2f} GiB, {:.2f} GiB more than is free{}. What helps: {}", gib(taken),
                gib(taken - demand.free_bytes), others(demand),
                ways_to_fit(demand, config, std::max<int64_t>(0, std::min(budget_left, plan.kv_bytes)), budget_left,
                            std::max<int64_t>(0, budget_left / block_bytes) * scheduler.block_size));
  }
  plan.num_users = static_cast<int>(std::min<int64_t>(
      scheduler.max_num_seqs, num_blocks / blocks_for(scheduler.max_model_len, scheduler.block_size)));
  return plan;
}

std::string MemoryPlan::describe() const {
  const int64_t num_tokens = scheduler.num_blocks * scheduler.block_size;
  const int64_t in_use = held_by_others(demand) + demand.weight_bytes + demand.workspace_bytes + kv_bytes;
  const std::string card = demand.is_gpu ? fmt::format("\nGPU memory in use when serving: {:.2f} of {:.2f} GiB",
                                                       gib(in_use), gib(demand.total_bytes))
                                         : "";
  return fmt::format(
      "Weights: {:.2f} GiB. Workspace: {:.2f} GiB.\n"
      "Available KV cache memory: {:.2f} GiB: {} blocks of {} tokens, {} bytes a token ({})\n"
      "{} KV cache size: {} tokens\n"
      "Maximum concurrency for {} tokens per request: {:.2f}x\n"
      "Memory plan: {} users x {} tokens{}",
      gib(demand.weight_bytes), gib(demand.workspace_bytes), gib(kv_bytes), scheduler.num_blocks, scheduler.block_size,
      demand.kv_bytes_per_token, demand.attention_form, demand.is_gpu ? "GPU" : "CPU", num_tokens,
      scheduler.max_model_len, static_cast<double>(num_tokens) / scheduler.max_model_len, num_users,
      scheduler.max_model_len, card);
}

}  // namespace gale
