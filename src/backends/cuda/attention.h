#pragma once

#include "backends/cuda/device/flash.cuh"
#include "ops/attention.h"

// GQA over heads of kHeadDim: one kernel for the sequences of one token, one for the others.
namespace gale::cuda {

inline constexpr int kHeadDim = 128;

struct AttentionView {
  const Bf16* q;                                       // [T, num_heads, kHeadDim]
  const void *k, *v;
  Bf16* out;
  int64_t q_token, q_head, out_token, out_head;
  const int32_t *query_start_loc, *seq_lens;
  Pages pages;
  int group;                                           // query heads of a KV head
  float scale_log2;                                    // to exponents of 2; in prefill it undoes the lift of FP8
};

[[nodiscard]] size_t decode_workspace_bytes();
[[nodiscard]] bool decode_fits(Sizing sizing);
void launch_decode(Stream& stream, Sizing sizing, DType cache, const AttentionView& view, int num_seqs, const Tensor& workspace);
// Sequences first_sequence … num_seqs - 1.
void launch_prefill(Stream& stream, DType cache, const AttentionView& view, int first_sequence, int num_seqs, int max_query_len);

// attention_prefill_sm90.cu: the same for a Hopper card, planned on the host from the step's chunks.
[[nodiscard]] bool prefill_sm90_supports(const DeviceCaps& caps, const PagedAttentionArgs& args);
// the sequence from which on it is the faster one
[[nodiscard]] int first_prefill_sm90(const PagedAttentionArgs& args);
void launch_prefill_sm90(Stream& stream, const PagedAttentionArgs& args, int first_sequence);
// Behind decode_workspace_bytes; 0 where this card or cache does not need it.
[[nodiscard]] size_t prefill_sm90_workspace_bytes(const AttentionLimits& limits);

}  // namespace gale::cuda
