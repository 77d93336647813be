#include "layers/mla.h"

#include <cmath>

#include "layers/workspace.h"
#include "ops/embedding.h"
#include "ops/mla.h"

namespace gale {

struct MlaAttention::Scratch {
  Tensor qkv_a;      // [T, q_lora + latent + rope]
  Tensor q_latent;   // [T, q_lora]
  Tensor q;          // [T, heads, nope + rope]
  Tensor absorbed;   // [T, heads, latent + rope]
  Tensor attended;   // [T, heads, latent]
  Tensor values;     // [T, heads, v]
  Tensor quantized_latent, quantized_values;   // [T, q_lora], [T, heads * v]
};

template <class Allocator>
MlaAttention::Scratch MlaAttention::scratch(Allocator& allocator, int64_t num_tokens) const {
  const int64_t heads = spec_.num_heads, latent = spec_.kv_lora_rank, rope = spec_.qk_rope_head_dim;
  return {.qkv_a = allocator.allocate(dtype_, {num_tokens, qkv_a_proj_.num_rows()}),
          .q_latent = allocator.allocate(dtype_, {num_tokens, spec_.q_lora_rank}),
          .q = allocator.allocate(dtype_, {num_tokens, heads, spec_.qk_nope_head_dim + rope}),
          .absorbed = allocator.allocate(dtype_, {num_tokens, heads, latent + rope}),
          .attended = allocator.allocate(dtype_, {num_tokens, heads, latent}),
          .values = allocator.allocate(dtype_, {num_tokens, heads, spec_.v_head_dim}),
          .quantized_latent = allocate_quantized(allocator, {num_tokens, spec_.q_lora_rank}, quantizes_),
          .quantized_values = allocate_quantized(allocator, {num_tokens, heads * spec_.v_head_dim}, quantizes_)};
}

MlaAttention::MlaAttention(const WeightScope& scope, const MlaSpec& spec)
    : spec_(spec),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.qk_nope_head_dim + spec.qk_rope_head_dim)))),
      dtype_(scope.activation_dtype()),
      quantizes_(scope.quantizes()),
      qkv_a_proj_(scope,
                  {{"q_a_proj", spec.q_lora_rank}, {"kv_a_proj_with_mqa", spec.kv_lora_rank + spec.qk_rope_head_dim}},
                  spec.hidden_size),
      q_norm_(scope, "q_a_layernorm", spec.q_lora_rank, spec.norm_eps),
      kv_norm_(scope, "kv_a_layernorm", spec.kv_lora_rank, spec.norm_eps),
      q_b_proj_(scope, {{"q_b_proj", int64_t{spec.num_heads} * (spec.qk_nope_head_dim + spec.qk_rope_head_dim)}},
                spec.q_lora_rank),
      o_proj_(scope, {{"o_proj", spec.hidden_size}}, int64_t{spec.num_heads} * spec.v_head_dim) {
  const int64_t nope = spec.qk_nope_head_dim, rows_per_head = nope + spec.v_head_dim;
  const Tensor kv_b =
      scope.never_quantized().claim_matrix("kv_b_proj.weight", {spec.num_heads * rows_per_head, spec.kv_lora_rank});
  std::vector<Tensor> keys, values;
  for (int64_t head = 0; head < spec.num_heads; ++head) {
    const int64_t begin = head * rows_per_head;
    keys.push_back(kv_b.slice(0, begin, begin + nope).transposed(0, 1));
    values.push_back(kv_b.slice(0, begin + nope, begin + rows_per_head));
  }
  w_uk_ = scope.never_quantized().matrices(std::move(keys), spec.num_heads, RowOrder::kPlain);
  w_uv_ = scope.never_quantized().matrices(std::move(values), spec.num_heads, RowOrder::kPlain);
}

// The step's first sequences.
void MlaAttention::attend_absorbed(OpContext& ops, const AttentionMetadata& first, const KvLayerView& kv,
                                   const Scratch& tmp) const {
  const int64_t nope = spec_.qk_nope_head_dim, rope = spec_.qk_rope_head_dim, latent = spec_.kv_lora_rank;
  const auto rows = [&](const Tensor& tensor) { return tensor.slice(0, 0, first.num_tokens); };
  const Tensor q = rows(tmp.q), absorbed = rows(tmp.absorbed), attended = rows(tmp.attended);
  head_linear(ops, {.out = absorbed.slice(2, 0, latent), .in = q.slice(2, 0, nope), .weight = w_uk_});
  mla_query_rope(ops, {.out = absorbed.slice(2, latent, latent + rope), .in = q.slice(2, nope, nope + rope),
                       .metadata = &first, .rope = spec_.rope});
  mla_attention(ops, {.out = attended, .q = absorbed, .cache = kv.k, .metadata = &first, .scale = scale_});
  head_linear(ops, {.out = rows(tmp.values), .in = attended, .weight = w_uv_});
}

void MlaAttention::attend(OpContext& ops, const AttentionMetadata& step, const KvLayerView& kv,
                          const Scratch& tmp) const {
  MlaPrefillArgs prefill{.out = tmp.values, .q = tmp.q, .scratch = tmp.absorbed, .cache = kv.k, .w_uk = w_uk_,
                         .w_uv = w_uv_, .metadata = &step, .scale = scale_};
  prefill.first_sequence = mla_first_prefill(ops, prefill);
  if (prefill.first_sequence > 0) attend_absorbed(ops, part_of(step, 0, prefill.first_sequence), kv, tmp);
  if (prefill.first_sequence == step.num_seqs) return;
  const AttentionMetadata prompts = part_of(step, prefill.first_sequence, step.num_seqs);
  const int64_t first_row = step.num_tokens - prompts.num_tokens, nope = spec_.qk_nope_head_dim;
  const Tensor rope = tmp.q.slice(0, first_row, step.num_tokens).slice(2, nope, nope + spec_.qk_rope_head_dim);
  mla_query_rope(ops, {.out = rope, .in = rope, .metadata = &prompts, .rope = spec_.rope});
  mla_prefill(ops, prefill);
}

void MlaAttention::forward(ForwardContext& context, const KvLayerView& kv, const Tensor& out, const BlockInput& in,
                           const WantedRows* wanted) const {
  const WorkspaceScope scope(context.workspace);
  OpContext& ops = context.ops;
  const int64_t num_tokens = in.num_tokens();
  const Scratch tmp = scratch(context.workspace, num_tokens);
  qkv_a_proj_.apply(ops, tmp.qkv_a, in);
  mla_write(ops, {.q_latent = tmp.q_latent, .qkv_a = tmp.qkv_a, .q_norm = *q_norm_.weight, .kv_norm = *kv_norm_.weight,
                  .norm_eps = spec_.norm_eps, .cache = kv.k, .metadata = &context.attention, .rope = spec_.rope});
  const int64_t num_out = out.shape[0], width = int64_t{spec_.num_heads} * spec_.v_head_dim;
  if (num_out == 0) return;
  const bool alone = wanted != nullptr && wanted->attend_alone();
  const int64_t num_queries = alone ? num_out : num_tokens;
  Tensor q_latent = tmp.q_latent;
  if (alone) {
    q_latent = tensor_within(tmp.qkv_a, dtype_, {num_out, spec_.q_lora_rank});
    gather_rows(ops, {.out = q_latent, .in = tmp.q_latent, .rows = wanted->rows});
  }
  const Tensor quantized_latent = first_rows(tmp.quantized_latent, num_queries);
  if (quantizes_) quantize_rows(ops, {.out = quantized_latent, .in = q_latent});
  q_b_proj_.apply(ops, first_rows(tmp.q, num_queries).view({num_queries, q_b_proj_.num_rows()}),
                  {q_latent, quantized_latent});
  attend(ops, alone ? wanted->attention : context.attention, kv, tmp);
  Tensor values = first_rows(tmp.values, num_queries).view({num_queries, width});
  if (wanted != nullptr && !alone) {
    const Tensor chosen = tensor_within(tmp.absorbed, dtype_, {num_out, width});
    gather_rows(ops, {.out = chosen, .in = values, .rows = wanted->rows});
    values = chosen;
  }
  const Tensor quantized = first_rows(tmp.quantized_values, num_out);
  if (quantizes_) quantize_rows(ops, {.out = quantized, .in = values});
  o_proj_.apply(ops, out, {values, quantized});
}

size_t MlaAttention::workspace_bytes(int64_t num_tokens) const {
  return metered_bytes([&](ArenaMeter& meter) { scratch(meter, num_tokens); });
}

KvLayerSpec MlaAttention::kv_spec() const {
  return {.kind = KvKind::kMla, .latent_dim = spec_.kv_lora_rank, .rope_dim = spec_.qk_rope_head_dim,
          .nope_dim = spec_.qk_nope_head_dim, .value_dim = spec_.v_head_dim};
}

}  // namespace gale
