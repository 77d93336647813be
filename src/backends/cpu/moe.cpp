// Mixture of experts. A thread takes a run of one expert's panels and walks the choices of all tokens for those that
// fall on this expert, so that an expert's weights are read once a step and nothing needs to be sorted or allocated.
#include <cmath>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/packed_panels.h"

namespace gale {
namespace {

constexpr int64_t kMaxExperts = 1024;

// Index of the largest value, the lowest on ties; a value that is NaN loses to everything. `is_open` says who may win.
template <class IsOpen>
int64_t best_of(const float* values, int64_t size, IsOpen is_open) {
  int64_t best = -1;
  for (int64_t i = 0; i < size; ++i) {
    if (!is_open(i)) continue;
    if (best < 0 || values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  }
  CHECK(best >= 0, "nothing left to choose from {}", size);
  return best;
}

// Marks the experts outside the best groups as taken; a group's score is the sum of its two best.
void close_groups(const MoeRouteArgs& args, const float* biased, int64_t num_experts, bool* is_taken) {
  const int64_t size = num_experts / args.num_groups;
  float group_scores[kMaxExperts];
  bool is_kept[kMaxExperts] = {};
  for (int64_t group = 0; group < args.num_groups; ++group) {
    const float* scores = biased + group * size;
    const int64_t first = best_of(scores, size, [](int64_t) { return true; });
    const float second = size < 2 ? 0.0f : scores[best_of(scores, size, [first](int64_t i) { return i != first; })];
    group_scores[group] = scores[first] + second;
  }
  for (int kept = 0; kept < args.top_k_groups; ++kept) {
    is_kept[best_of(group_scores, args.num_groups, [&is_kept](int64_t i) { return !is_kept[i]; })] = true;
  }
  for (int64_t expert = 0; expert < num_experts; ++expert) is_taken[expert] = !is_kept[expert / size];
}

void route_token(const MoeRouteArgs& args, const float* in, int32_t* ids, float* weights) {
  const int64_t num_experts = args.gate_weight.shape[0], width = args.gate_weight.shape[1];
  const int64_t num_routed = args.expert_ids.shape[1] - (args.has_shared ? 1 : 0);
  const float* bias = args.correction_bias.as<float>();
  float scores[kMaxExperts], biased[kMaxExperts];
  bool is_taken[kMaxExperts] = {};
  for (int64_t expert = 0; expert < num_experts; ++expert) {
    const float logit = cpu_kernels().dot(in, args.gate_weight.row<float>(expert), width);
    scores[expert] = 1.0f / (1.0f + std::exp(-logit));
    biased[expert] = scores[expert] + bias[expert];
  }
  if (args.num_groups > 1) close_groups(args, biased, num_experts, is_taken);
  float sum = 0;
  for (int64_t k = 0; k < num_routed; ++k) {
    const int64_t expert = best_of(biased, num_experts, [&is_taken](int64_t i) { return !is_taken[i]; });
    is_taken[expert] = true;
    ids[k] = static_cast<int32_t>(expert);
    weights[k] = scores[expert];
    sum += scores[expert];
  }
  const float factor = args.renormalize ? args.scale / (sum + 1e-20f) : args.scale;
  for (int64_t k = 0; k < num_routed; ++k) weights[k] *= factor;
  if (args.has_shared) {
    ids[num_routed] = static_cast<int32_t>(num_experts);
    weights[num_routed] = 1.0f;
  }
}

// Multiplies every (token, choice) row with its expert: in_of and out_of give the rows.
template <class In, class Out>
void multiply_chosen(Stream& stream, const PackedWeight& weight, const Tensor& expert_ids, In in_of, Out out_of) {
  const int64_t num_tokens = expert_ids.shape[0], num_chosen = expert_ids.shape[1];
  const int64_t num_experts = weight.num_matrices;
  for_each_piece(stream, weight, num_tokens * num_chosen / num_experts + 1,
                 [&](int64_t expert, int64_t begin, int64_t end) {
                   PanelBlock block = panel_block(weight, expert, begin, end);
                   for (int64_t t = 0; t < num_tokens; ++t) {
                     const int32_t* ids = expert_ids.row<int32_t>(t);
                     for (int64_t k = 0; k < num_chosen; ++k) {
                       if (ids[k] != expert) continue;
                       push_token(block, in_of(t, k), out_of(t, k) + begin * kPanelRows);
                       if (block.num_tokens == kMaxBlockTokens) flush(block, weight.order);
                     }
                   }
                   flush(block, weight.order);
                 });
}

// Every choice must name an expert that exists, or its row would be left unwritten.
void check_choices(const Tensor& expert_ids, int64_t num_experts) {
  for (int64_t t = 0; t < expert_ids.shape[0]; ++t) {
    for (int64_t k = 0; k < expert_ids.shape[1]; ++k) {
      const int32_t id = expert_ids.row<int32_t>(t)[k];
      CHECK(id >= 0 && id < num_experts, "token {} chose expert {} of {}", t, id, num_experts);
    }
  }
}

}  // namespace

void cpu_moe_route(Stream& stream, const MoeRouteArgs& args) {
  const int64_t num_experts = args.gate_weight.shape[0];
  CHECK(num_experts <= kMaxExperts, "{} experts, at most {}", num_experts, kMaxExperts);
  for_each_row(stream, args.in.shape[0], num_experts * args.in.shape[1], [&](int64_t t) {
    route_token(args, args.in.row<float>(t), args.expert_ids.row<int32_t>(t), args.expert_weights.row<float>(t));
  });
}

void cpu_moe_up(Stream& stream, const MoeUpArgs& args) {
  check_choices(args.expert_ids, args.weight->num_matrices);
  multiply_chosen(
      stream, *args.weight, args.expert_ids, [&](int64_t t, int64_t) { return args.in.row<float>(t); },
      [&](int64_t t, int64_t k) { return args.out.row<float>(t) + k * args.out.strides[1]; });
}

void cpu_moe_down_combine(Stream& stream, const MoeDownCombineArgs& args) {
  check_choices(args.expert_ids, args.weight->num_matrices);
  const int64_t num_chosen = args.in.shape[1], hidden = args.out.shape[1];
  multiply_chosen(
      stream, *args.weight, args.expert_ids,
      [&](int64_t t, int64_t k) { return args.in.row<float>(t) + k * args.in.strides[1]; },
      [&](int64_t t, int64_t k) { return args.scratch.row<float>(t * num_chosen + k); });
  for_each_row(stream, args.out.shape[0], num_chosen * hidden, [&](int64_t t) {
    float* out = args.out.row<float>(t);
    const float* weights = args.expert_weights.row<float>(t);
    std::fill_n(out, hidden, 0.0f);
    for (int64_t k = 0; k < num_chosen; ++k) {
      cpu_kernels().add_scaled(out, args.scratch.row<float>(t * num_chosen + k), weights[k], hidden);
    }
  });
}

}  // namespace gale
