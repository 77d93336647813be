#pragma once

#include "ops/op_table.h"

// The implementations of each op, one file an op or family; cpu_backend.cpp lists them in the table.

namespace gale {

[[nodiscard]] size_t cpu_packed_bytes(const PackShape& shape);
void cpu_pack(Stream& stream, Arena& arena, const PackLinearArgs& args);
void cpu_fill_random(Stream& stream, const Tensor& out, uint64_t seed, float spread);

void cpu_embedding(Stream& stream, const EmbeddingArgs& args);
void cpu_gather_rows(Stream& stream, const GatherRowsArgs& args);
void cpu_rms_norm(Stream& stream, const RmsNormArgs& args);
void cpu_add_rms_norm(Stream& stream, const AddRmsNormArgs& args);
void cpu_norm_add_rms_norm(Stream& stream, const NormAddRmsNormArgs& args);
void cpu_linear(Stream& stream, const LinearArgs& args);
void cpu_linear_swiglu(Stream& stream, const LinearSwigluArgs& args);
void cpu_head_linear(Stream& stream, const HeadLinearArgs& args);
void cpu_qkv_rope_write(Stream& stream, const QkvRopeWriteArgs& args);
void cpu_paged_attention(Stream& stream, const PagedAttentionArgs& args);
void cpu_mla_write(Stream& stream, const MlaWriteArgs& args);
void cpu_mla_query_rope(Stream& stream, const MlaQueryRopeArgs& args);
void cpu_mla_attention(Stream& stream, const MlaAttentionArgs& args);
void cpu_moe_route(Stream& stream, const MoeRouteArgs& args);
void cpu_moe_up(Stream& stream, const MoeUpArgs& args);
void cpu_moe_down_combine(Stream& stream, const MoeDownCombineArgs& args);
void cpu_mask_logits(Stream& stream, const MaskLogitsArgs& args);
void cpu_apply_penalties(Stream& stream, const PenaltiesArgs& args);
void cpu_apply_logit_bias(Stream& stream, const LogitBiasArgs& args);
void cpu_sample(Stream& stream, const SampleArgs& args);
void cpu_logprobs(Stream& stream, const LogprobsArgs& args);

}  // namespace gale
