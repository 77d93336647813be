#pragma once

#include "ops/linear.h"

namespace gale {

// E routed experts; the shared expert is number E, chosen by every token with weight 1.
// K = experts a token + shared ones.

// scores = sigmoid(gate_weight * in), fp32; the top k by score + bias (ties: lower index), groups first if
// num_groups > 1 (group score = its two best biased scores); weight = unbiased score, renormalised (sum + 1e-20) if
// asked, times scale.
struct MoeRouteArgs {
  Tensor expert_ids;        // out: i32 [T, K]; routed experts by falling biased
                            // score, then the shared expert E if has_shared
  Tensor expert_weights;    // out: f32 [T, K]
  Tensor in;                // [T, H]
  Tensor gate_weight;       // f32 [E, H]
  Tensor correction_bias;   // f32 [E]
  int num_groups = 1;
  int top_k_groups = 1;
  bool renormalize = true;
  float scale = 1;
  bool has_shared = true;
  // Out, or both empty (a backend that groups rows by itself, as the CPU does, needs neither): the rows t * K + k in
  // the order of their expert, i32 [T * K], and where each expert's rows begin, i32 [experts + 1].
  Tensor sorted_rows, expert_offsets;
};
void moe_route(OpContext& context, const MoeRouteArgs& args);

// Quantised experts take quantised activations, as `linear` does.

// out[t, k] = silu(g) * u with [g; u] = weight[expert_ids[t, k]] * in[t]; out may be f8e4m3 with a scale for
// each (t, k)
struct MoeUpArgs {
  Tensor out;               // [T, K, I]
  Tensor in;                // [T, H]
  const PackedWeight* weight;   // kGateUp, E (+ 1) matrices [2I, H]
  Tensor expert_ids;        // i32 [T, K]
  Tensor scratch;           // [T * K, 2I]
  Tensor sorted_rows, expert_offsets;   // as moe_route made them
  Tensor by_expert;         // scratch [T * K, H] of `in`'s type, with scales if `in` has some
};
void moe_up(OpContext& context, const MoeUpArgs& args);

// rows[t, k] = weight[expert_ids[t, k]] * in[t, k]; out[t] = sum_k expert_weights[t, k] * rows[t, k], k in order, fp32.
struct MoeDownCombineArgs {
  Tensor out;               // [T, H]
  Tensor in;                // [T, K, I]
  const PackedWeight* weight;   // E (+ 1) matrices [H, I]
  Tensor expert_ids, expert_weights;
  Tensor scratch;           // [T * K, H]
  Tensor sorted_rows, expert_offsets;   // as moe_route made them
  Tensor by_expert;         // scratch [T * K, I] of `in`'s type, with scales if `in` has some
};
void moe_down_combine(OpContext& context, const MoeDownCombineArgs& args);

}  // namespace gale
