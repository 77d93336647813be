#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/ops.h"

namespace gale {

const OpTable& cuda_op_table() {
  static constexpr auto kMakeTable = [] {
    return OpTable{
        .packing = {cuda::packed_bytes, cuda::pack, true},
        .attention_workspace_bytes = cuda::attention_workspace_bytes,
        .fill_random = cuda::fill_random,
        .product_choices = cuda::product_choices,
        .embedding = cuda::kEmbedding,
        .gather_rows = cuda::kGatherRows,
        .rms_norm = cuda::kRmsNorm,
        .add_rms_norm = cuda::kAddRmsNorm,
        .norm_add_rms_norm = cuda::kNormAddRmsNorm,
        .quantize_rows = cuda::kQuantizeRows,
        .linear = cuda::kLinear,
        .linear_swiglu = cuda::kLinearSwiglu,
        .head_linear = cuda::kHeadLinear,
        .qkv_rope_write = cuda::kQkvRopeWrite,
        .paged_attention = cuda::kPagedAttention,
        .mla_write = cuda::kMlaWrite,
        .mla_query_rope = cuda::kMlaQueryRope,
        .mla_attention = cuda::kMlaAttention,
        .mla_prefill = cuda::kMlaPrefill,
        .mla_first_prefill = cuda::mla_first_prefill,
        .moe_route = cuda::kMoeRoute,
        .moe_up = cuda::kMoeUp,
        .moe_down_combine = cuda::kMoeDownCombine,
        .mask_logits = cuda::kMaskLogits,
        .apply_penalties = cuda::kPenalties,
        .apply_logit_bias = cuda::kLogitBias,
        .sample = cuda::kSample,
        .logprobs = cuda::kLogprobs,
    };
  };
  static const OpTable table = kMakeTable();
  return table;
}

}  // namespace gale
