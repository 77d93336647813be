#pragma once

#include <span>

#include "ops/op.h"
#include "ops/rope.h"

namespace gale {

// What a step can be at most; from it a backend sizes its scratch once.
struct AttentionLimits {
  int max_num_seqs = 0;
  int max_num_tokens = 0;
  int max_model_len = 0;
  int num_heads = 0;        // query heads
  int num_kv_heads = 0;     // 1 for MLA
  int key_dim = 0;          // head_dim; MLA: L + P
  int value_dim = 0;        // head_dim; MLA: L
  int nope_dim = 0;         // MLA: of a head's expanded key, less the rope part
  int head_value_dim = 0;   // MLA: of a head's expanded value
  DType cache_dtype = DType::kBF16;
};
[[nodiscard]] size_t attention_workspace_bytes(const OpContext& context, const AttentionLimits& limits);

// Several query tokens of one sequence, as the host knows them.
struct PromptChunk { int num_queries; int seq_len; };   // seq_len: as AttentionMetadata::seq_lens

// Which token of a step belongs to which sequence and where its keys lie. All tensors are device memory, i32 unless
// said. Sequences with one query token come first: num_decodes of them (a prompt of one token is one, too). A step
// captured into a graph is replayed with other contents of the same tensors: there the host's numbers below are upper
// bounds (max_seq_len) or exact (num_seqs == num_tokens == num_decodes, all rows of one token), and a padded row has
// seq_lens 0 and slot -1: its output is not read by anybody, but must be finite.
struct AttentionMetadata {
  Tensor query_start_loc;   // [S + 1]: sequence s owns tokens query_start_loc[s] … query_start_loc[s + 1] - 1
  Tensor seq_lens;          // [S]: tokens in the cache once this step has written its own
  Tensor block_tables;      // [S, max_blocks]: block of each block_size tokens
  Tensor slot_mapping;      // i64 [T]: block * block_size + offset where a
                            // token's keys go; -1: padded row, nothing is written
  Tensor positions;         // [3, T]: rope positions on the axes T, H, W (equal for text)
  int num_seqs = 0;
  int num_tokens = 0;
  int num_decodes = 0;
  int max_query_len = 0;
  int max_seq_len = 0;
  int block_size = 0;
  Tensor workspace = {};    // u8: attention_workspace_bytes, zeroed once at start
                            // and left as the ops leave it; may be empty on the CPU
  // of the sequences num_decodes … num_seqs - 1, for ops that plan prompts on the host
  std::span<const PromptChunk> chunks = {};
};

// Sequences begin … end - 1 of a step as a step of their own, whose first token is first_token of the whole.
// query_start_loc goes on counting in the whole step: beyond the first sequence a part is for ops that look at tokens
// one by one.
[[nodiscard]] AttentionMetadata part_of(const AttentionMetadata& step, int begin, int end);
// The token of a step with which a sequence begins, from num_decodes on; num_tokens for num_seqs.
[[nodiscard]] int first_token_of(const AttentionMetadata& step, int sequence);

// Adds biases, optionally normalises heads, rotates q and k, writes k and v to the cache.
struct QkvRopeWriteArgs {
  Tensor q_out;             // [T, num_heads, head_dim]
  Tensor qkv;               // [T, (num_heads + 2 * num_kv_heads) * head_dim]: q heads, k heads, v heads
  Tensor bias;              // [(num_heads + 2 * num_kv_heads) * head_dim] or empty
  Tensor q_norm, k_norm;    // [head_dim] or empty: RMSNorm of each head after bias, before rope
  float norm_eps = 0;
  Tensor k_cache, v_cache;  // [num_blocks, num_kv_heads, block_size, head_dim],
                            // f32, bf16 or f8e4m3 (saturated, scale 1)
  const AttentionMetadata* metadata;
  RopeParams rope;
};
void qkv_rope_write(OpContext& context, const QkvRopeWriteArgs& args);

// Causal attention over the paged cache: query token i of sequence s sees positions 0 … seq_lens[s] - query_len[s] + i.
// out[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) v[j, h / group], softmax in fp32.
struct PagedAttentionArgs {
  Tensor out;               // [T, num_heads, head_dim]
  Tensor q;                 // [T, num_heads, head_dim]
  Tensor k_cache, v_cache;  // as above
  const AttentionMetadata* metadata;
  float scale;
};
void paged_attention(OpContext& context, const PagedAttentionArgs& args);

}  // namespace gale
