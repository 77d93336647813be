#pragma once

#include "ops/mla.h"

// MLA on tensor cores.
namespace gale::cuda {

[[nodiscard]] size_t mla_workspace_bytes();

// Where what prompts need begins in the workspace: behind that of the absorbed form of answers.
inline size_t mla_scratch_begin() { return (mla_workspace_bytes() + 255) / 256 * 256; }

// mla_prefill_sm90.cu: what prompts need there.
[[nodiscard]] size_t mla_prefill_workspace_bytes(const AttentionLimits& limits);

// attention.cu: any shape.
[[nodiscard]] bool any_mla_supports(const DeviceCaps& caps, const MlaAttentionArgs& args);
void run_any_mla(Stream& stream, const MlaAttentionArgs& args);

// mla_attention_sm90.cu: keys of 576, values of 512, pages of a multiple of 64 tokens.
[[nodiscard]] bool mla_wgmma_supports(const DeviceCaps& caps, const MlaAttentionArgs& args);
void run_mla_wgmma(Stream& stream, const MlaAttentionArgs& args);

// mla_chunk_sm90.cu: the same for prompts' chunks, from the sequence on that first_mla_chunk names (num_seqs: none).
[[nodiscard]] int first_mla_chunk(const MlaAttentionArgs& args);
void run_mla_chunks(Stream& stream, const MlaAttentionArgs& args, int first);

}  // namespace gale::cuda
