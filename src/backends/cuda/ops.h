#pragma once

#include <vector>

#include "ops/op_table.h"

// The implementations of this backend, a file of kernels each; table.cpp puts them in order.
namespace gale::cuda {

template <class Args>
bool supports_any(const DeviceCaps&, const Args&) { return true; }

extern const OpImpl<EmbeddingArgs> kEmbedding[1];
extern const OpImpl<GatherRowsArgs> kGatherRows[1];
extern const OpImpl<RmsNormArgs> kRmsNorm[1];
extern const OpImpl<AddRmsNormArgs> kAddRmsNorm[1];
extern const OpImpl<NormAddRmsNormArgs> kNormAddRmsNorm[1];
extern const OpImpl<QuantizeRowsArgs> kQuantizeRows[1];
extern const OpImpl<LinearArgs> kLinear[3];
extern const OpImpl<LinearSwigluArgs> kLinearSwiglu[2];
extern const OpImpl<HeadLinearArgs> kHeadLinear[2];
extern const OpImpl<QkvRopeWriteArgs> kQkvRopeWrite[2];
extern const OpImpl<PagedAttentionArgs> kPagedAttention[4];
extern const OpImpl<MlaWriteArgs> kMlaWrite[2];
extern const OpImpl<MlaQueryRopeArgs> kMlaQueryRope[2];
extern const OpImpl<MlaAttentionArgs> kMlaAttention[4];
extern const OpImpl<MlaPrefillArgs> kMlaPrefill[1];
extern const OpImpl<MoeRouteArgs> kMoeRoute[2];
extern const OpImpl<MoeUpArgs> kMoeUp[2];
extern const OpImpl<MoeDownCombineArgs> kMoeDownCombine[2];
extern const OpImpl<MaskLogitsArgs> kMaskLogits[1];
extern const OpImpl<PenaltiesArgs> kPenalties[1];
extern const OpImpl<LogitBiasArgs> kLogitBias[1];
extern const OpImpl<SampleArgs> kSample[2];
extern const OpImpl<LogprobsArgs> kLogprobs[1];

// Steps that several ops share. Tensors of rank 2 or 3 are rows of their last extent.
void quantize(Stream& stream, const Tensor& out, const Tensor& in);          // as quantize_rows
void swiglu_rows(Stream& stream, const Tensor& out, const Tensor& gate_up);  // out[r]: [I], bf16 or e4m3; gate_up[r]: [2I] interleaved

// Variants in files of their own.
void run_sample_cluster(Stream& stream, const SampleArgs& args);
[[nodiscard]] bool sample_cluster_supports(const DeviceCaps& caps, const SampleArgs& args);
void run_route_cluster(Stream& stream, const MoeRouteArgs& args);
[[nodiscard]] bool route_cluster_supports(const DeviceCaps& caps, const MoeRouteArgs& args);

size_t attention_workspace_bytes(const AttentionLimits& limits);
int mla_first_prefill(const MlaPrefillArgs& args);
size_t packed_bytes(const PackShape& shape);
void pack(Stream& stream, Arena& arena, const PackLinearArgs& args);
std::vector<ProductChoice> product_choices(const Device& device, const ProductShape& shape);
void fill_random(Stream& stream, const Tensor& out, uint64_t seed, float spread);

}  // namespace gale::cuda
