#include "layers/moe.h"

#include "layers/linear.h"
#include "layers/workspace.h"
#include "ops/moe.h"

namespace gale {
namespace {

// Matrices of all experts in the order of the packed weights: gate and up of each, down of each.
struct ExpertSources { std::vector<Tensor> gate_up; std::vector<Tensor> down; };

void claim_stacked(const WeightScope& scope, const MoeSpec& spec, ExpertSources& out) {
  const int64_t inner = spec.inner_size;
  const Tensor gate_up = scope.claim("experts.gate_up_proj", {spec.num_experts, 2 * inner, spec.hidden_size});
  const Tensor down = scope.claim("experts.down_proj", {spec.num_experts, spec.hidden_size, inner});
  for (int64_t expert = 0; expert < spec.num_experts; ++expert) {
    out.gate_up.push_back(gate_up[expert].slice(0, 0, inner));
    out.gate_up.push_back(gate_up[expert].slice(0, inner, 2 * inner));
    out.down.push_back(down[expert]);
  }
}

void claim_expert(const WeightScope& scope, const MoeSpec& spec, ExpertSources& out) {
  for (const Tensor& half : claim_gate_up(scope, spec.inner_size, spec.hidden_size)) out.gate_up.push_back(half);
  out.down.push_back(scope.claim_matrix("down_proj.weight", {spec.hidden_size, spec.inner_size}));
}

ExpertSources claim_experts(const WeightScope& scope, const MoeSpec& spec) {
  ExpertSources out;
  if (scope.has("experts.gate_up_proj")) {
    claim_stacked(scope, spec, out);
  } else {
    for (int64_t e = 0; e < spec.num_experts; ++e)
      claim_expert(scope.child("experts." + std::to_string(e) + "."), spec, out);
  }
  if (spec.has_shared_expert) claim_expert(scope.child("shared_experts."), spec, out);
  return out;
}

struct Scratch {
  Tensor ids;       // i32 [T, K]
  Tensor weights;   // f32 [T, K]
  Tensor inner;     // [T, K, I]
  Tensor up;        // [T * K, 2I]
  Tensor down;      // [T * K, H]
  Tensor sorted;    // i32 [T * K]
  Tensor offsets;   // i32 [experts + 1]
  Tensor factors;   // f32 [T * K]: of rows in the order of experts
};

// As many rows like those of a product's input.
Tensor rows_within(const Tensor& memory, const Tensor& in, const Tensor& factors) {
  Tensor rows = tensor_within(memory, in.dtype, {memory.shape[0], in.shape[in.shape.rank() - 1]});
  if (in.scales != nullptr) rows.scales = factors.as<float>();
  return rows;
}

template <class Allocator>
Scratch scratch(Allocator& allocator, const MoeSpec& spec, DType dtype, bool quantizes, int64_t num_tokens) {
  const int64_t chosen = spec.num_chosen();
  const Shape inner = {num_tokens, chosen, spec.inner_size};
  return {.ids = allocator.allocate(DType::kI32, {num_tokens, chosen}),
          .weights = allocator.allocate(DType::kF32, {num_tokens, chosen}),
          .inner = quantizes ? allocate_quantized(allocator, inner, true) : allocator.allocate(dtype, inner),
          .up = allocator.allocate(dtype, {num_tokens * chosen, 2 * spec.inner_size}),
          .down = allocator.allocate(dtype, {num_tokens * chosen, spec.hidden_size}),
          .sorted = allocator.allocate(DType::kI32, {num_tokens * chosen}),
          .offsets = allocator.allocate(DType::kI32, {spec.num_experts + 2}),
          .factors = allocator.allocate(DType::kF32, {num_tokens * chosen})};
}

}  // namespace

MoeBlock::MoeBlock(const WeightScope& scope, const MoeSpec& spec)
    : spec_(spec),
      dtype_(scope.activation_dtype()),
      quantizes_(scope.quantizes()),
      gate_(scope.tensor({scope.claim("gate.weight", {spec.num_experts, spec.hidden_size})}, DType::kF32,
                         TensorUse::kFactor)),
      correction_bias_(
          scope.router_bias(scope.claim("gate.e_score_correction_bias", {spec.num_experts}, WeightDType::kF32),
                            spec.top_k)) {
  ExpertSources sources = claim_experts(scope, spec);
  const int64_t num_matrices = spec.num_experts + (spec.has_shared_expert ? 1 : 0);
  up_ = scope.matrices(std::move(sources.gate_up), num_matrices, RowOrder::kGateUp);
  down_ = scope.matrices(std::move(sources.down), num_matrices, RowOrder::kPlain);
}

void MoeBlock::forward(ForwardContext& context, const Tensor& out, const BlockInput& in) const {
  const WorkspaceScope scope(context.workspace);
  const Scratch tmp = scratch(context.workspace, spec_, dtype_, quantizes_, in.num_tokens());
  moe_route(context.ops, {.expert_ids = tmp.ids, .expert_weights = tmp.weights, .in = in.plain, .gate_weight = *gate_,
                          .correction_bias = *correction_bias_, .num_groups = spec_.num_groups,
                          .top_k_groups = spec_.top_k_groups, .renormalize = spec_.renormalize,
                          .scale = spec_.routed_scale, .has_shared = spec_.has_shared_expert,
                          .sorted_rows = tmp.sorted, .expert_offsets = tmp.offsets});
  const Tensor& up_in = in.for_weight(*up_);
  moe_up(context.ops, {.out = tmp.inner,
                       .in = up_in,
                       .weight = up_,
                       .expert_ids = tmp.ids,
                       .scratch = tmp.up,
                       .sorted_rows = tmp.sorted,
                       .expert_offsets = tmp.offsets,
                       .by_expert = rows_within(tmp.down, up_in, tmp.factors)});
  moe_down_combine(context.ops, {.out = out, .in = tmp.inner, .weight = down_, .expert_ids = tmp.ids,
                                 .expert_weights = tmp.weights, .scratch = tmp.down, .sorted_rows = tmp.sorted,
                                 .expert_offsets = tmp.offsets,
                                 .by_expert = rows_within(tmp.up, tmp.inner, tmp.factors)});
}

size_t MoeBlock::workspace_bytes(int64_t num_tokens) const {
  return metered_bytes([&](ArenaMeter& meter) { scratch(meter, spec_, dtype_, quantizes_, num_tokens); });
}

}  // namespace gale
