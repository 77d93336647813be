#include "ops/moe.h"

#include "ops/check_args.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {
namespace {

// Shape of an expert weight: any number of matrices, the given rows and columns.
void check_expert_weight(const PackedWeight* weight, int64_t num_rows, int64_t num_cols, RowOrder order) {
  CHECK(weight != nullptr, "weight is null");
  CHECK(weight->num_rows == num_rows && weight->num_cols == num_cols && weight->order == order,
        "expert weight is {} x [{}, {}], expected [{}, {}]", weight->num_matrices, weight->num_rows, weight->num_cols,
        num_rows, num_cols);
}

void check_expert_input(const ArgCheck& check, const Tensor& in, const Shape& shape, const PackedWeight* weight) {
  CHECK(weight != nullptr, "weight is null");
  if (weight->is_quantized()) {
    check.quantized("in", in, shape);
  } else {
    check.activation("in", in, shape);
  }
}

}  // namespace

void moe_route(OpContext& context, const MoeRouteArgs& args) {
  const ArgCheck check("moe_route", context);
  check.rank("in", args.in, 2);
  check.rank("gate_weight", args.gate_weight, 2);
  check.rank("expert_ids", args.expert_ids, 2);
  const int64_t num_tokens = args.in.shape[0], num_experts = args.gate_weight.shape[0];
  const int64_t num_chosen = args.expert_ids.shape[1], num_routed = num_chosen - (args.has_shared ? 1 : 0);
  check.activation("in", args.in, args.in.shape);
  check.tensor("gate_weight", args.gate_weight, DType::kF32, {num_experts, args.in.shape[1]});
  check.tensor("correction_bias", args.correction_bias, DType::kF32, {num_experts});
  check.tensor("expert_ids", args.expert_ids, DType::kI32, {num_tokens, num_chosen});
  check.tensor("expert_weights", args.expert_weights, DType::kF32, {num_tokens, num_chosen});
  CHECK(args.num_groups > 0 && num_experts % args.num_groups == 0 && args.top_k_groups > 0 &&
            args.top_k_groups <= args.num_groups,
        "{} experts, {} of {} groups", num_experts, args.top_k_groups, args.num_groups);
  CHECK(num_routed > 0 && num_routed <= num_experts / args.num_groups * args.top_k_groups, "{} of {} experts chosen",
        num_routed, num_experts);
  if (num_tokens == 0) return;
  dispatch(context, context.table.moe_route, args, "moe_route", {{"in", args.in}, {"gate_weight", args.gate_weight}});
}

void moe_up(OpContext& context, const MoeUpArgs& args) {
  const ArgCheck check("moe_up", context);
  check.rank("in", args.in, 2);
  check.rank("out", args.out, 3);
  const int64_t num_tokens = args.out.shape[0], num_chosen = args.out.shape[1], inner = args.out.shape[2];
  check_expert_input(check, args.in, {num_tokens, args.in.shape[1]}, args.weight);
  check.activation_or_quantized("out", args.out, args.out.shape);
  check.tensor("expert_ids", args.expert_ids, DType::kI32, {num_tokens, num_chosen});
  check.one_of("scratch", args.scratch, {context.caps.activation_dtype, DType::kF32},
               {num_tokens * num_chosen, 2 * inner});
  check.tensor("by_expert", args.by_expert, args.in.dtype, {num_tokens * num_chosen, args.in.shape[1]});
  check_expert_weight(args.weight, 2 * inner, args.in.shape[1], RowOrder::kGateUp);
  if (num_tokens == 0) return;
  dispatch(context, context.table.moe_up, args, "moe_up",
           {{"in", args.in}, {"out", args.out}, {"weight", args.weight->data}});
}

void moe_down_combine(OpContext& context, const MoeDownCombineArgs& args) {
  const ArgCheck check("moe_down_combine", context);
  check.rank("in", args.in, 3);
  check.rank("out", args.out, 2);
  const int64_t num_tokens = args.in.shape[0], num_chosen = args.in.shape[1], hidden = args.out.shape[1];
  check_expert_input(check, args.in, args.in.shape, args.weight);
  check.activation("out", args.out, {num_tokens, hidden});
  check.tensor("expert_ids", args.expert_ids, DType::kI32, {num_tokens, num_chosen});
  check.tensor("expert_weights", args.expert_weights, DType::kF32, {num_tokens, num_chosen});
  check.one_of("scratch", args.scratch, {context.caps.activation_dtype, DType::kF32},
               {num_tokens * num_chosen, hidden});
  check.tensor("by_expert", args.by_expert, args.in.dtype, {num_tokens * num_chosen, args.in.shape[2]});
  check_expert_weight(args.weight, hidden, args.in.shape[2], RowOrder::kPlain);
  if (num_tokens == 0) return;
  dispatch(context, context.table.moe_down_combine, args, "moe_down_combine",
           {{"in", args.in}, {"out", args.out}, {"weight", args.weight->data}});
}

}  // namespace gale
