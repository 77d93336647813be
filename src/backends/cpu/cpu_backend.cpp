#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"

namespace gale {
namespace {

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int num_threads) : pool_(num_threads) {
    caps_.name = fmt::format("cpu, {} thread{}, {}", num_threads, num_threads == 1 ? "" : "s", cpu_kernels().name);
  }
  [[nodiscard]] const DeviceCaps& caps() const override { return caps_; }
  [[nodiscard]] DeviceMemory memory() const override { return host_memory(); }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override { return std::make_unique<CpuStream>(pool_); }
  [[nodiscard]] Result<std::unique_ptr<Buffer>> allocate(MemoryKind, size_t num_bytes) override {
    return allocate_host_memory(num_bytes);
  }
  void copy(Stream&, void* to, const void* from, size_t num_bytes) override {
    if (num_bytes > 0) std::memmove(to, from, num_bytes);
  }

 private:
  DeviceCaps caps_{.kind = DeviceKind::kCpu, .activation_dtype = DType::kF32};
  ThreadPool pool_;
};

// The ops' checks leave nothing that the CPU cannot do, given that activations are f32.
template <class Args>
bool on_cpu(const DeviceCaps& caps, const Args&) {
  return caps.kind == DeviceKind::kCpu && caps.activation_dtype == DType::kF32;
}

// Neither FP8 activations nor an FP8 cache: who asks for them is told before (pack_linear, the memory plan).
template <class Args>
bool supports_norm(const DeviceCaps& caps, const Args& args) { return on_cpu(caps, args) && args.quantized.is_empty(); }

template <class Args>
constexpr OpImpl<Args> norm_implementation(std::string_view name, void (*run)(Stream&, const Args&)) {
  return {.name = name, .supports = supports_norm<Args>, .run = run};
}

template <class Args>
constexpr OpImpl<Args> implementation(std::string_view name, void (*run)(Stream&, const Args&)) {
  return {.name = name, .supports = on_cpu<Args>, .run = run};
}

constexpr OpImpl<EmbeddingArgs> kEmbedding[] = {implementation("embedding_cpu", cpu_embedding)};
constexpr OpImpl<GatherRowsArgs> kGatherRows[] = {implementation("gather_rows_cpu", cpu_gather_rows)};
constexpr OpImpl<RmsNormArgs> kRmsNorm[] = {norm_implementation("rms_norm_cpu", cpu_rms_norm)};
constexpr OpImpl<AddRmsNormArgs> kAddRmsNorm[] = {norm_implementation("add_rms_norm_cpu", cpu_add_rms_norm)};
constexpr OpImpl<NormAddRmsNormArgs> kNormAddRmsNorm[] = {
    norm_implementation("norm_add_rms_norm_cpu", cpu_norm_add_rms_norm)};
constexpr OpImpl<LinearArgs> kLinear[] = {implementation("linear_cpu", cpu_linear)};
constexpr OpImpl<LinearSwigluArgs> kLinearSwiglu[] = {implementation("linear_swiglu_cpu", cpu_linear_swiglu)};
constexpr OpImpl<HeadLinearArgs> kHeadLinear[] = {implementation("head_linear_cpu", cpu_head_linear)};
constexpr OpImpl<QkvRopeWriteArgs> kQkvRopeWrite[] = {implementation("qkv_rope_write_cpu", cpu_qkv_rope_write)};
constexpr OpImpl<PagedAttentionArgs> kPagedAttention[] = {implementation("paged_attention_cpu", cpu_paged_attention)};
constexpr OpImpl<MlaWriteArgs> kMlaWrite[] = {implementation("mla_write_cpu", cpu_mla_write)};
constexpr OpImpl<MlaQueryRopeArgs> kMlaQueryRope[] = {implementation("mla_query_rope_cpu", cpu_mla_query_rope)};
constexpr OpImpl<MlaAttentionArgs> kMlaAttention[] = {implementation("mla_attention_cpu", cpu_mla_attention)};
constexpr OpImpl<MoeRouteArgs> kMoeRoute[] = {implementation("moe_route_cpu", cpu_moe_route)};
constexpr OpImpl<MoeUpArgs> kMoeUp[] = {implementation("moe_up_cpu", cpu_moe_up)};
constexpr OpImpl<MoeDownCombineArgs> kMoeDownCombine[] = {
    implementation("moe_down_combine_cpu", cpu_moe_down_combine)};
constexpr OpImpl<MaskLogitsArgs> kMaskLogits[] = {implementation("mask_logits_cpu", cpu_mask_logits)};
constexpr OpImpl<PenaltiesArgs> kPenalties[] = {implementation("apply_penalties_cpu", cpu_apply_penalties)};
constexpr OpImpl<LogitBiasArgs> kLogitBias[] = {implementation("apply_logit_bias_cpu", cpu_apply_logit_bias)};
constexpr OpImpl<SampleArgs> kSample[] = {implementation("sample_cpu", cpu_sample)};
constexpr OpImpl<LogprobsArgs> kLogprobs[] = {implementation("logprobs_cpu", cpu_logprobs)};

constexpr OpTable kTable = {
    .packing = {.packed_bytes = cpu_packed_bytes, .pack = cpu_pack},
    .attention_workspace_bytes = nullptr,
    .fill_random = cpu_fill_random,
    .embedding = kEmbedding,
    .gather_rows = kGatherRows,
    .rms_norm = kRmsNorm,
    .add_rms_norm = kAddRmsNorm,
    .norm_add_rms_norm = kNormAddRmsNorm,
    .quantize_rows = {},
    .linear = kLinear,
    .linear_swiglu = kLinearSwiglu,
    .head_linear = kHeadLinear,
    .qkv_rope_write = kQkvRopeWrite,
    .paged_attention = kPagedAttention,
    .mla_write = kMlaWrite,
    .mla_query_rope = kMlaQueryRope,
    .mla_attention = kMlaAttention,
    .moe_route = kMoeRoute,
    .moe_up = kMoeUp,
    .moe_down_combine = kMoeDownCombine,
    .mask_logits = kMaskLogits,
    .apply_penalties = kPenalties,
    .apply_logit_bias = kLogitBias,
    .sample = kSample,
    .logprobs = kLogprobs,
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(int num_threads) {
  CHECK(num_threads >= 0, "{} threads", num_threads);
  const int num_cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::make_unique<CpuDevice>(num_threads > 0 ? num_threads : std::max(1, num_cores));
}

const OpTable& cpu_op_table() { return kTable; }

}  // namespace gale
