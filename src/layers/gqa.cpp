#include "layers/gqa.h"

#include <cmath>
#include <utility>

#include "layers/workspace.h"
#include "ops/embedding.h"

namespace gale {
namespace {

std::vector<LinearPart> qkv_parts(const GqaSpec& spec) {
  const int64_t q_rows = int64_t{spec.num_heads} * spec.head_dim, kv_rows = int64_t{spec.num_kv_heads} * spec.head_dim;
  return {{"q_proj", q_rows}, {"k_proj", kv_rows}, {"v_proj", kv_rows}};
}

const Tensor* claim_qkv_bias(const WeightScope& scope, const GqaSpec& spec) {
  std::vector<Tensor> biases;
  for (const LinearPart& part : qkv_parts(spec)) biases.push_back(scope.claim(part.name + ".bias", {part.num_rows}));
  return scope.tensor(std::move(biases), scope.activation_dtype(), TensorUse::kBias);
}

Tensor value_or_empty(const Tensor* tensor) { return tensor == nullptr ? Tensor{} : *tensor; }

}  // namespace

struct GqaAttention::Scratch {
  Tensor qkv;       // [T, (heads + 2 * kv_heads) * head_dim]
  Tensor q;         // [T, heads, head_dim]
  Tensor attended;  // [T, heads, head_dim]
  Tensor quantized; // [T, heads * head_dim]
};

template <class Allocator>
GqaAttention::Scratch GqaAttention::scratch(Allocator& allocator, int64_t num_tokens) const {
  const Shape heads = {num_tokens, spec_.num_heads, spec_.head_dim};
  return {.qkv = allocator.allocate(dtype_, {num_tokens, qkv_proj_.num_rows()}),
          .q = allocator.allocate(dtype_, heads),
          .attended = allocator.allocate(dtype_, heads),
          .quantized = allocate_quantized(allocator, {num_tokens, heads[1] * heads[2]}, quantizes_)};
}

GqaAttention::GqaAttention(const WeightScope& scope, const GqaSpec& spec)
    : spec_(spec),
      dtype_(scope.activation_dtype()),
      quantizes_(scope.quantizes()),
      qkv_proj_(scope, qkv_parts(spec), spec.hidden_size),
      o_proj_(scope, {{"o_proj", spec.hidden_size}}, int64_t{spec.num_heads} * spec.head_dim) {
  if (spec.has_qkv_bias) qkv_bias_ = claim_qkv_bias(scope, spec);
  if (spec.has_qk_norm) {
    q_norm_ = RmsNorm(scope, "q_norm", spec.head_dim, spec.norm_eps).weight;
    k_norm_ = RmsNorm(scope, "k_norm", spec.head_dim, spec.norm_eps).weight;
  }
}

void GqaAttention::forward(ForwardContext& context, const KvLayerView& kv, const Tensor& out, const BlockInput& in,
                           const WantedRows* wanted) const {
  const WorkspaceScope scope(context.workspace);
  const int64_t num_tokens = in.num_tokens();
  const Scratch tmp = scratch(context.workspace, num_tokens);
  qkv_proj_.apply(context.ops, tmp.qkv, in);
  qkv_rope_write(context.ops, {.q_out = tmp.q, .qkv = tmp.qkv, .bias = value_or_empty(qkv_bias_),
                               .q_norm = value_or_empty(q_norm_), .k_norm = value_or_empty(k_norm_),
                               .norm_eps = spec_.norm_eps, .k_cache = kv.k, .v_cache = kv.v,
                               .metadata = &context.attention, .rope = spec_.rope});
  const int64_t num_out = out.shape[0], width = int64_t{spec_.num_heads} * spec_.head_dim;
  if (num_out == 0) return;
  const auto choose = [&](Tensor& from, Tensor& other) {   // the wanted rows, where the other one's lie
    gather_rows(context.ops, {.out = first_rows(other, num_out).view({num_out, width}),
                              .in = from.view({num_tokens, width}), .rows = wanted->rows});
    std::swap(from, other);
    from = first_rows(from, num_out), other = first_rows(other, num_out);
  };
  Tensor q = tmp.q, attended = tmp.attended;
  const bool alone = wanted != nullptr && wanted->attend_alone();
  if (alone) choose(q, attended);
  paged_attention(context.ops, {.out = attended, .q = q, .k_cache = kv.k, .v_cache = kv.v,
                                .metadata = alone ? &wanted->attention : &context.attention,
                                .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)))});
  if (wanted != nullptr && !alone) choose(attended, q);
  const Tensor flat = attended.view({num_out, width}), quantized = first_rows(tmp.quantized, num_out);
  if (quantizes_) quantize_rows(context.ops, {.out = quantized, .in = flat});
  o_proj_.apply(context.ops, out, {flat, quantized});
}

size_t GqaAttention::workspace_bytes(int64_t num_tokens) const {
  return metered_bytes([&](ArenaMeter& meter) { scratch(meter, num_tokens); });
}

KvLayerSpec GqaAttention::kv_spec() const {
  return {.kind = KvKind::kGqa, .num_kv_heads = spec_.num_kv_heads, .head_dim = spec_.head_dim};
}

}  // namespace gale
