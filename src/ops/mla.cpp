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
