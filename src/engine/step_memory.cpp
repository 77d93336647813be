#include "engine/step_memory_internal.h"

#include <algorithm>

namespace gale {

DType kv_cache_dtype(KvCacheDType wanted, DType checkpoint, const Device& device) {
  switch (wanted) {
    case KvCacheDType::kBF16:
      return DType::kBF16;
    case KvCacheDType::kF32:
      return DType::kF32;
    case KvCacheDType::kF8E4M3:
      return DType::kF8E4M3;
    case KvCacheDType::kAuto:
      break;
  }
  return checkpoint == DType::kF32 && device.caps().kind != DeviceKind::kCuda ? DType::kF32 : DType::kBF16;
}

Status check_precision(const EngineConfig& config, const Device& device) {
  const bool is_cuda = device.caps().kind == DeviceKind::kCuda;
  if (config.kv_cache_dtype == KvCacheDType::kF8E4M3 && !is_cuda) {
    return fail_param(ErrorCode::kUnimplemented, "kv-cache-dtype",
                      "--kv-cache-dtype fp8 needs a GPU; {} keeps bfloat16 or float32", device.caps().name);
  }
  if (config.kv_cache_dtype == KvCacheDType::kF32 && is_cuda) {
    return fail_param(ErrorCode::kUnimplemented, "kv-cache-dtype",
                      "--kv-cache-dtype float32 is for the processor; a GPU keeps bfloat16 or fp8");
  }
  return {};
}

int max_in_flight(const Device& device) { return device.caps().kind == DeviceKind::kCuda ? 2 : 1; }

namespace {

Sampler::Options sampler_options(const ModelInfo& model, const EngineConfig& config, const SchedulerConfig& scheduler,
                                 const Device& device) {
  const int num_valid =
      config.num_valid_tokens > 0 ? std::min(config.num_valid_tokens, model.vocab_size) : model.vocab_size;
  return {.vocab_size = model.vocab_size,
          .num_valid_tokens = num_valid,
          .max_model_len = scheduler.max_model_len,
          .num_slots = scheduler.max_num_seqs,
          .num_buffers = max_in_flight(device)};
}

// Rows of logits at once: every sequence's next token, or a piece of a prompt.
int max_logit_rows(const SchedulerConfig& scheduler) { return std::max(scheduler.max_num_seqs, Sampler::kMaxRows); }
size_t logits_bytes(const ModelInfo& model, const SchedulerConfig& scheduler) {
  return static_cast<size_t>(max_logit_rows(scheduler)) * static_cast<size_t>(model.vocab_size) * sizeof(float);
}
size_t row_list_bytes() { return Arena::padded(Sampler::kMaxRows * sizeof(int32_t)); }
// A step holds every running sequence's next token, whatever the budget of prompts is.
int max_step_tokens(const SchedulerConfig& scheduler) {
  return std::max(scheduler.max_num_batched_tokens, scheduler.max_num_seqs);
}

// Hidden states of a piece of a prompt between the steps in which it goes through the layers.
size_t layered_bytes(const ModelInfo& model, const SchedulerConfig& scheduler, const Device& device) {
  const auto num_elements =
      static_cast<size_t>(scheduler.max_layered_tokens) * static_cast<size_t>(model.hidden_size);
  return std::max(Arena::kAlignment, Arena::padded(num_elements * size_of(device.caps().activation_dtype)));
}

size_t attention_bytes(const Model& model, const OpContext& ops, const SchedulerConfig& scheduler, DType cache) {
  const KvLayout layout = model.kv_layout();
  const KvLayerSpec& layer = layout.layers.front();  // all layers are alike
  const bool is_mla = layer.kind == KvKind::kMla;
  const AttentionLimits limits{.max_num_seqs = scheduler.max_num_seqs,
                               .max_num_tokens = max_step_tokens(scheduler),
                               .max_model_len = scheduler.max_model_len,
                               .num_heads = model.info().num_attention_heads,
                               .num_kv_heads = is_mla ? 1 : layer.num_kv_heads,
                               .key_dim = is_mla ? layer.latent_dim + layer.rope_dim : layer.head_dim,
                               .value_dim = is_mla ? layer.latent_dim : layer.head_dim,
                               .nope_dim = layer.nope_dim,
                               .head_value_dim = layer.value_dim,
                               .cache_dtype = cache};
  return Arena::padded(attention_workspace_bytes(ops, limits));
}

}  // namespace

size_t step_bytes(const Model& model, const EngineConfig& config, SchedulerConfig scheduler, const Device& device,
                  const OpTable& table) {
  if (scheduler.max_model_len == 0) scheduler.max_model_len = model.info().max_position_embeddings;
  if (scheduler.block_size == 0) scheduler.block_size = 16;
  resolve_layered_prefill(scheduler, device.caps().kind == DeviceKind::kCuda, model.info().num_layers);
  const std::unique_ptr<Device> nothing = make_null_device();
  const std::unique_ptr<Stream> stream = nothing->make_stream();
  const DType cache = kv_cache_dtype(config.kv_cache_dtype, model.info().checkpoint_dtype, device);
  return model.workspace_bytes(max_step_tokens(scheduler), max_logit_rows(scheduler)) +
         logits_bytes(model.info(), scheduler) + layered_bytes(model.info(), scheduler, device) + row_list_bytes() +
         Pooler::num_bytes(model.info().hidden_size) +
         BatchBuilder::num_bytes(device, scheduler) +
         attention_bytes(model, {*stream, table, device.caps()}, scheduler, cache) +
         Sampler::num_bytes(sampler_options(model.info(), config, scheduler, device));
}

MemoryDemand demand_of(const ModelInfo& info, const KvLayout& layout, const EngineConfig& config,
                       const Device& device) {
  const DeviceMemory memory = device.memory();
  const bool is_gpu = device.caps().kind == DeviceKind::kCuda;
  const DType cache = kv_cache_dtype(config.kv_cache_dtype, info.checkpoint_dtype, device);
  return {.is_gpu = is_gpu,
          .has_experts = info.num_experts > 0,
          .num_layers = info.num_layers,
          .total_bytes = static_cast<int64_t>(memory.total_bytes),
          .free_bytes = static_cast<int64_t>(memory.free_bytes),
          .weight_bytes = static_cast<int64_t>(info.weight_bytes),
          .kv_bytes_per_token = layout.elements_per_token() * static_cast<int64_t>(size_of(cache)),
          .attention_form = describe_attention(layout),
          .max_position_embeddings = info.max_position_embeddings,
          .can_shrink_weights = is_gpu && !info.has_fp8_weights,
          .can_shrink_kv = is_gpu && size_of(cache) == 2};
}

Result<StepState> take_memory(const Model& model, const EngineConfig& config, const SchedulerConfig& scheduler,
                              Device& device, const OpTable& table) {
  const DType dtype = kv_cache_dtype(config.kv_cache_dtype, model.info().checkpoint_dtype, device);
  const KvLayout layout = model.kv_layout();
  const size_t kv_bytes = kv_store_bytes(layout, dtype, scheduler.num_blocks, scheduler.block_size);
  std::unique_ptr<Stream> stream = device.make_stream();
  GALE_ASSIGN(Arena workspace,
              Arena::create(device, MemoryKind::kDevice,
                            model.workspace_bytes(max_step_tokens(scheduler), max_logit_rows(scheduler))));
  GALE_ASSIGN(Arena logits, Arena::create(device, MemoryKind::kDevice, logits_bytes(model.info(), scheduler)));
  GALE_ASSIGN(Arena attention,
              Arena::create(device, MemoryKind::kDevice,
                            attention_bytes(model, {*stream, table, device.caps()}, scheduler, dtype)));
  GALE_ASSIGN(Arena layered,
              Arena::create(device, MemoryKind::kDevice, layered_bytes(model.info(), scheduler, device)));
  GALE_ASSIGN(Staging row_list, Staging::create(device, row_list_bytes()));
  GALE_ASSIGN(std::unique_ptr<BatchBuilder> batch, BatchBuilder::create(device, scheduler, max_in_flight(device)));
  GALE_ASSIGN(std::unique_ptr<Sampler> sampler,
              Sampler::create(device, sampler_options(model.info(), config, scheduler, device)));
  GALE_ASSIGN(Pooler pooler, Pooler::create(device, model.info().hidden_size, scheduler.max_num_seqs));
  GALE_ASSIGN(Arena kv_memory, Arena::create(device, MemoryKind::kDevice, kv_bytes));
  KvStore kv = allocate_kv_store(kv_memory, layout, dtype, scheduler.num_blocks, scheduler.block_size);
  return StepState{.stream = std::move(stream),
                   .workspace = std::move(workspace),
                   .kv_memory = std::move(kv_memory),
                   .logits_memory = std::move(logits),
                   .attention_memory = std::move(attention),
                   .layered_memory = std::move(layered),
                   .kv = std::move(kv),
                   .row_list = std::move(row_list),
                   .batch = std::move(batch),
                   .sampler = std::move(sampler),
                   .pooler = std::move(pooler)};
}

}  // namespace gale
