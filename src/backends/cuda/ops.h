#pragma once

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
extern const OpImpl<LinearArgs> kLinear[2];
extern const OpImpl<LinearSwigluArgs> kLinearSwiglu[1];
extern const OpImpl<HeadLinearArgs> kHeadLinear[1];
extern const OpImpl<QkvRopeWriteArgs> kQkvRopeWrite[1];
extern const OpImpl<PagedAttentionArgs> kPagedAttention[1];
extern const OpImpl<MlaWriteArgs> kMlaWrite[1];
extern const OpImpl<MlaQueryRopeArgs> kMlaQueryRope[1];
extern const OpImpl<MlaAttentionArgs> kMlaAttention[1];
extern const OpImpl<MoeRouteArgs> kMoeRoute[1];
extern const OpImpl<MoeUpArgs> kMoeUp[1];
extern const OpImpl<MoeDownCombineArgs> kMoeDownCombine[1];
extern const OpImpl<MaskLogitsArgs> kMaskLogits[1];
extern const OpImpl<PenaltiesArgs> kPenalties[1];
extern const OpImpl<LogitBiasArgs> kLogitBias[1];
extern const OpImpl<SampleArgs> kSample[1];
extern const OpImpl<LogprobsArgs> kLogprobs[1];

size_t packed_bytes(const PackShape& shape);
void pack(Stream& stream, Arena& arena, const PackLinearArgs& args);
void fill_random(Stream& stream, const Tensor& out, uint64_t seed, float spread);

}  // namespace gale::cuda
