#include "layers/mlp.h"

#include "layers/linear.h"
#include "layers/workspace.h"

namespace gale {

struct Mlp::Scratch {
  Tensor inner;     // [T, I]
  Tensor gate_up;   // [T, 2I]
};

template <class Allocator>
Mlp::Scratch Mlp::scratch(Allocator& allocator, int64_t num_tokens) const {
  return {.inner = allocator.allocate(dtype_, {num_tokens, spec_.inner_size}),
          .gate_up = allocator.allocate(dtype_, {num_tokens, 2 * spec_.inner_size})};
}

Mlp::Mlp(const WeightScope& scope, const MlpSpec& spec)
    : spec_(spec),
      dtype_(scope.activation_dtype()),
      gate_up_(scope.matrices(claim_gate_up(scope, spec.inner_size, spec.hidden_size), 1, RowOrder::kGateUp)),
      down_(scope.matrices({scope.claim("down_proj.weight", {spec.hidden_size, spec.inner_size})}, 1,
                           RowOrder::kPlain)) {}

void Mlp::forward(ForwardContext& context, const Tensor& out, const Tensor& in) const {
  const WorkspaceScope scope(context.workspace);
  const Scratch tmp = scratch(context.workspace, in.shape[0]);
  linear_swiglu(context.ops, {.out = tmp.inner, .in = in, .weight = gate_up_, .scratch = tmp.gate_up});
  linear(context.ops, {.out = out, .in = tmp.inner, .weight = down_});
}

size_t Mlp::workspace_bytes(int64_t num_tokens) const {
  return metered_bytes([&](ArenaMeter& meter) { scratch(meter, num_tokens); });
}

}  // namespace gale
