#include "ops/attention.h"

#include <algorithm>

#include "ops/attention_checks.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {

void check_metadata(const ArgCheck& check, const AttentionMetadata* metadata, int64_t num_tokens) {
  CHECK(metadata != nullptr, "metadata is null");
  const int64_t num_seqs = metadata->num_seqs;
  CHECK(metadata->num_tokens == num_tokens, "metadata is for {} tokens, the tensors hold {}", metadata->num_tokens,
        num_tokens);
  check.tensor("slot_mapping", metadata->slot_mapping, DType::kI64, {num_tokens});
  check.tensor("positions", metadata->positions, DType::kI32, {3, num_tokens});
  check.that(metadata->block_size > 0, "block_size must be positive");
  if (num_seqs == 0) return;
  check.tensor("query_start_loc", metadata->query_start_loc, DType::kI32, {num_seqs + 1});
  check.tensor("seq_lens", metadata->seq_lens, DType::kI32, {num_seqs});
  check.rank("block_tables", metadata->block_tables, 2);
  check.tensor("block_tables", metadata->block_tables, DType::kI32, {num_seqs, metadata->block_tables.shape[1]});
}

size_t attention_workspace_bytes(const OpContext& context, const AttentionLimits& limits) {
  const auto bytes = context.table.attention_workspace_bytes;
  return bytes == nullptr ? 0 : bytes(limits);
}

int first_token_of(const AttentionMetadata& step, int sequence) {
  if (sequence == step.num_seqs) return step.num_tokens;
  if (sequence <= step.num_decodes) return sequence;
  CHECK(std::ssize(step.chunks) == step.num_seqs - step.num_decodes, "{} chunks for {} sequences, {} of one token",
        step.chunks.size(), step.num_seqs, step.num_decodes);
  int token = step.num_decodes;
  const auto num_before = static_cast<size_t>(sequence - step.num_decodes);
  for (const PromptChunk& chunk : step.chunks.first(num_before)) token += chunk.num_queries;
  return token;
}

AttentionMetadata part_of(const AttentionMetadata& step, int begin, int end) {
  CHECK(0 <= begin && begin <= end && end <= step.num_seqs, "sequences {} to {} of {}", begin, end, step.num_seqs);
  if (begin == 0 && end == step.num_seqs) return step;
  const int first = first_token_of(step, begin), last = first_token_of(step, end);
  AttentionMetadata part = step;
  part.query_start_loc = step.query_start_loc.slice(0, begin, end + 1);
  part.seq_lens = step.seq_lens.slice(0, begin, end);
  part.block_tables = step.block_tables.slice(0, begin, end);
  part.slot_mapping = step.slot_mapping.slice(0, first, last);
  part.positions = step.positions.slice(1, first, last);
  part.num_seqs = end - begin, part.num_tokens = last - first;
  part.num_decodes = std::clamp(step.num_decodes - begin, 0, part.num_seqs);
  const auto chunks_before = static_cast<size_t>(std::max(begin - step.num_decodes, 0));
  part.chunks = step.chunks.subspan(chunks_before, static_cast<size_t>(part.num_seqs - part.num_decodes));
  part.max_query_len = std::min(1, part.num_seqs);
  for (const PromptChunk& chunk : part.chunks) part.max_query_len = std::max(part.max_query_len, chunk.num_queries);
  return part;
}

void check_rope(const ArgCheck& check, const RopeParams& rope, int64_t head_dim) {
  CHECK(rope.rotary_dim > 0 && rope.rotary_dim % 2 == 0 && rope.rotary_dim <= head_dim && rope.theta > 1,
        "rope of {} dims with theta {} in heads of {}", rope.rotary_dim, rope.theta, head_dim);
  check.that(rope.sections[0] + rope.sections[1] + rope.sections[2] == rope.rotary_dim / 2,
             "rope sections must sum up to rotary_dim / 2");
}

namespace {

// k and v caches agree; returns [num_blocks, num_kv_heads, block_size, head_dim].
Shape check_caches(const ArgCheck& check, const Tensor& k_cache, const Tensor& v_cache, int block_size) {
  check.rank("k_cache", k_cache, 4);
  check.one_of("k_cache", k_cache, {DType::kF32, DType::kBF16, DType::kF8E4M3}, k_cache.shape);
  check.tensor("v_cache", v_cache, k_cache.dtype, k_cache.shape);
  check.that(k_cache.is_contiguous() && v_cache.is_contiguous(), "caches must be contiguous");
  CHECK(k_cache.shape[2] == block_size, "cache blocks hold {} tokens, metadata says {}", k_cache.shape[2], block_size);
  return k_cache.shape;
}

}  // namespace

void qkv_rope_write(OpContext& context, const QkvRopeWriteArgs& args) {
  const ArgCheck check("qkv_rope_write", context);
  check.rank("q_out", args.q_out, 3);
  const int64_t num_tokens = args.q_out.shape[0], num_heads = args.q_out.shape[1], head_dim = args.q_out.shape[2];
  check_metadata(check, args.metadata, num_tokens);
  const Shape cache = check_caches(check, args.k_cache, args.v_cache, args.metadata->block_size);
  check.that(cache[3] == head_dim, "caches and q_out differ in head_dim");
  const int64_t width = (num_heads + 2 * cache[1]) * head_dim;
  check.activation("q_out", args.q_out, args.q_out.shape);
  check.activation("qkv", args.qkv, {num_tokens, width});
  check.optional_activation("bias", args.bias, {width});
  check.optional_activation("q_norm", args.q_norm, {head_dim});
  check.optional_activation("k_norm", args.k_norm, {head_dim});
  check.that(args.q_norm.is_empty() == args.k_norm.is_empty(), "q_norm and k_norm come together");
  check_rope(check, args.rope, head_dim);
  if (num_tokens == 0) return;
  dispatch(context, context.table.qkv_rope_write, args, "qkv_rope_write",
           {{"q_out", args.q_out}, {"qkv", args.qkv}, {"k_cache", args.k_cache}});
}

void paged_attention(OpContext& context, const PagedAttentionArgs& args) {
  const ArgCheck check("paged_attention", context);
  check.rank("q", args.q, 3);
  check_metadata(check, args.metadata, args.q.shape[0]);
  const Shape cache = check_caches(check, args.k_cache, args.v_cache, args.metadata->block_size);
  check.activation("q", args.q, {args.q.shape[0], args.q.shape[1], cache[3]});
  check.activation("out", args.out, args.q.shape);
  CHECK(cache[1] > 0 && args.q.shape[1] % cache[1] == 0, "{} query heads for {} key heads", args.q.shape[1], cache[1]);
  if (args.q.shape[0] == 0 || args.metadata->num_seqs == 0) return;
  dispatch(context, context.table.paged_attention, args, "paged_attention", {{"q", args.q}, {"k_cache", args.k_cache}});
}

}  // namespace gale
