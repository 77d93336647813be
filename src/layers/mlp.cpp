#include "layers/mlp.h"

#include "layers/linear.h"
#include "layers/workspace.h"

namespace gale {
namespace {

struct Scratch {
  Tensor inner;     // [T, I]
  Tensor gate_up;   // [T, 2I]
};

template <class Allocator>
Scratch scratch(Allocator& allocator, const MlpSpec& spec, DType dtype, bool quantizes, int64_t num_tokens) {
  const Shape inner = {num_tokens, spec.inner_size};
  return {.inner = quantizes ? allocate_quantized(allocator, inner, true) : allocator.allocate(dtype, inner),
          .gate_up = allocator.allocate(dtype, {num_tokens, 2 * spec.inner_size})};
}

}  // namespace

Mlp::Mlp(const WeightScope& scope, const MlpSpec& spec)
    : spec_(spec),
      dtype_(scope.activation_dtype()),
      quantizes_(scope.quantizes()),
      gate_up_(scope.matrices(claim_gate_up(scope, spec.inner_size, spec.hidden_size), 1, RowOrder::kGateUp)),
      down_(scope.matrices({scope.claim_matrix("down_proj.weight", {spec.hidden_size, spec.inner_size})}, 1,
                           RowOrder::kPlain)) {}

void Mlp::forward(ForwardContext& context, const Tensor& out, const BlockInput& in) const {
  const WorkspaceScope scope(context.workspace);
  const Scratch tmp = scratch(context.workspace, spec_, dtype_, quantizes_, in.num_tokens());
  linear_swiglu(context.ops,
                {.out = tmp.inner, .in = in.for_weight(*gate_up_), .weight = gate_up_, .scratch = tmp.gate_up});
  linear(context.ops, {.out = out, .in = tmp.inner, .weight = down_});
}

size_t Mlp::workspace_bytes(int64_t num_tokens) const {
  return metered_bytes([&](ArenaMeter& meter) { scratch(meter, spec_, dtype_, quantizes_, num_tokens); });
}

}  // namespace gale
