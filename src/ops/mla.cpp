#include "ops/mla.h"

#include "ops/attention_checks.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {
namespace {

void check_cache(const ArgCheck& check, const Tensor& cache, int block_size, int64_t width) {
  check.rank("cache", cache, 3);
  check.one_of("cache", cache, {DType::kF32, DType::kBF16, DType::kF8E4M3}, {cache.shape[0], block_size, width});
  check.that(cache.is_contiguous(), "the cache must be contiguous");
}

}  // namespace

void mla_write(OpContext& context, const MlaWriteArgs& args) {
  const ArgCheck check("mla_write", context);
  check.rank("q_latent", args.q_latent, 2);
  check.rank("kv_norm", args.kv_norm, 1);
  const int64_t num_tokens = args.q_latent.shape[0], q_rank = args.q_latent.shape[1];
  const int64_t kv_rank = args.kv_norm.shape[0], width = kv_rank + args.rope.rotary_dim;
  check_metadata(check, args.metadata, num_tokens);
  check.activation("q_latent", args.q_latent, args.q_latent.shape);
  check.activation("qkv_a", args.qkv_a, {num_tokens, q_rank + width});
  check.activation("q_norm", args.q_norm, {q_rank});
  check.activation("kv_norm", args.kv_norm, {kv_rank});
  check_rope(check, args.rope, args.rope.rotary_dim);
  check_cache(check, args.cache, args.metadata->block_size, width);
  if (num_tokens == 0) return;
  dispatch(context, context.table.mla_write, args, "mla_write", {{"qkv_a", args.qkv_a}, {"cache", args.cache}});
}

void mla_query_rope(OpContext& context, const MlaQueryRopeArgs& args) {
  const ArgCheck check("mla_query_rope", context);
  check.rank("in", args.in, 3);
  check_metadata(check, args.metadata, args.in.shape[0]);
  check.activation("in", args.in, args.in.shape);
  check.activation("out", args.out, args.in.shape);
  check_rope(check, args.rope, args.in.shape[2]);
  check.that(args.in.shape[2] == args.rope.rotary_dim, "in must hold just the rope dims");
  if (args.in.shape[0] == 0) return;
  dispatch(context, context.table.mla_query_rope, args, "mla_query_rope", {{"in", args.in}});
}

namespace {

void check_prefill(const OpContext& context, const MlaPrefillArgs& args) {
  const ArgCheck check("mla_prefill", context);
  check.rank("q", args.q, 3);
  check.rank("cache", args.cache, 3);
  CHECK(args.w_uk != nullptr && args.w_uv != nullptr, "a weight is null");
  const int64_t num_tokens = args.q.shape[0], num_heads = args.q.shape[1];
  const int64_t nope = args.w_uk->num_cols, latent = args.w_uk->num_rows;
  check_metadata(check, args.metadata, num_tokens);
  const int64_t width = args.cache.shape[2], rope = width - latent;
  check.that(rope > 0 && args.w_uk->num_matrices == num_heads, "w_uk must hold a matrix a head, for latents");
  check.that(args.w_uv->num_matrices == num_heads && args.w_uv->num_cols == latent, "w_uv must hold a matrix a head");
  check.activation("q", args.q, {num_tokens, num_heads, nope + rope});
  check.activation("out", args.out, {num_tokens, num_heads, args.w_uv->num_rows});
  check.activation("scratch", args.scratch, {num_tokens, num_heads, width});
  check_cache(check, args.cache, args.metadata->block_size, width);
  check.that(args.first_sequence >= args.metadata->num_decodes, "sequences of one token are not for this op");
}

}  // namespace

void mla_prefill(OpContext& context, const MlaPrefillArgs& args) {
  check_prefill(context, args);
  const AttentionMetadata& metadata = *args.metadata;
  if (args.first_sequence >= metadata.num_seqs) return;
  const int num_chunks = metadata.num_seqs - metadata.num_decodes;
  CHECK(std::ssize(metadata.chunks) == num_chunks, "{} chunks for {} sequences", metadata.chunks.size(), num_chunks);
  dispatch(context, context.table.mla_prefill, args, "mla_prefill", {{"q", args.q}, {"out", args.out}});
}

int mla_first_prefill(const OpContext& context, const MlaPrefillArgs& args) {
  const auto choice = context.table.mla_first_prefill;
  const bool is_possible = choice != nullptr && args.metadata->num_seqs > args.metadata->num_decodes &&
                           choose(context.table.mla_prefill, context.caps, args) != nullptr;
  return is_possible ? choice(args) : args.metadata->num_seqs;
}

void mla_attention(OpContext& context, const MlaAttentionArgs& args) {
  const ArgCheck check("mla_attention", context);
  check.rank("q", args.q, 3);
  check.rank("out", args.out, 3);
  check_metadata(check, args.metadata, args.q.shape[0]);
  check.activation("q", args.q, args.q.shape);
  check.activation("out", args.out, {args.q.shape[0], args.q.shape[1], args.out.shape[2]});
  check.that(args.out.shape[2] <= args.q.shape[2], "out is the latent part of the key");
  check_cache(check, args.cache, args.metadata->block_size, args.q.shape[2]);
  if (args.q.shape[0] == 0 || args.metadata->num_seqs == 0) return;
  dispatch(context, context.table.mla_attention, args, "mla_attention",
           {{"q", args.q}, {"out", args.out}, {"cache", args.cache}});
}

}  // namespace gale
