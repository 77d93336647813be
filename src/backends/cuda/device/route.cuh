#pragma once

#include <cfloat>

#include "backends/cuda/device/common.cuh"
#include "ops/moe.h"

// What the routing kernels share: scores of a token, the choice, the order of rows.
namespace gale::cuda {

inline constexpr int kMaxRoutedExperts = 512;
inline constexpr int kMaxExpertGroups = 32;

struct RouteView {
  int32_t* ids;
  float* weights;
  int32_t *sorted, *offsets;
  const void* in;
  int64_t in_stride;
  const float *gate, *bias;
  int num_experts, top_k, pitch, hidden, num_groups, top_k_groups;
  bool renormalize, has_shared;
  float scale;
};

inline RouteView route_view(const MoeRouteArgs& args) {
  RouteView view{};
  view.ids = args.expert_ids.as<int32_t>(), view.weights = args.expert_weights.as<float>();
  view.sorted = args.sorted_rows.as<int32_t>(), view.offsets = args.expert_offsets.as<int32_t>();
  view.in = args.in.data, view.in_stride = args.in.strides[0], view.gate = args.gate_weight.as<float>();
  view.bias = args.correction_bias.as<float>(), view.num_experts = static_cast<int>(args.gate_weight.shape[0]);
  view.pitch = static_cast<int>(args.expert_ids.shape[1]), view.top_k = view.pitch - (args.has_shared ? 1 : 0);
  view.hidden = static_cast<int>(args.in.shape[1]), view.num_groups = args.num_groups, view.top_k_groups = args.top_k_groups;
  view.renormalize = args.renormalize, view.has_shared = args.has_shared, view.scale = args.scale;
  return view;
}

// Of one token, in shared memory.
template <int kExperts>
struct RouteScores {
  float scores[kExperts], biased[kExperts];
  __device__ void set(int expert, float logit, float bias) {
    scores[expert] = 1.0f / (1.0f + expf(-logit));
    const float x = scores[expert] + bias;
    biased[expert] =
        x == x ? x : -FLT_MAX;  // a NaN loses to all numbers, and still is an expert: the row's ids stay within bounds
  }
};

// Groups whose two best biased scores sum highest stay; the experts of all others drop out of the choice. By one thread.
__device__ inline void drop_groups(float* biased, const RouteView& view) {
  const int size = view.num_experts / view.num_groups;
  float score[kMaxExpertGroups];
  for (int g = 0; g < view.num_groups; ++g) {
    float best = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      const float x = biased[e];
      if (x > best) second = best, best = x; else if (x > second) second = x;
    }
    score[g] = best + second;
  }
  for (int g = 0; g < view.num_groups; ++g) {
    int better = 0;
    for (int other = 0; other < view.num_groups; ++other)
      better += score[other] > score[g] || (score[other] == score[g] && other < g);
    if (better < view.top_k_groups) continue;
    for (int e = g * size; e < (g + 1) * size; ++e) biased[e] = -INFINITY;
  }
}

// The best expert that is left, lowest index on ties; by one warp.
__device__ inline int best_expert(const float* biased, int num_experts) {
  float best = -INFINITY;
  int index = kMaxRoutedExperts;
  for (int e = threadIdx.x % kWarpSize; e < num_experts; e += kWarpSize)
    if (biased[e] > best) best = biased[e], index = e;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kFullMask, best, offset);
    const int other_index = __shfl_xor_sync(kFullMask, index, offset);
    if (other > best || (other == best && other_index < index)) best = other, index = other_index;
  }
  return index;
}

// Ids and weights of one token, by one warp; ids once more at `copy` if it is not null. Overwrites the scores.
template <int kExperts>
__device__ void choose_experts(RouteScores<kExperts>& token_scores, const RouteView& view, int64_t token, int* copy) {
  const int lane = threadIdx.x % kWarpSize;
  float* biased = token_scores.biased;
  if (lane == 0 && view.num_groups > 1) drop_groups(biased, view);
  __syncwarp();
  float sum = 0, own = 0;                            // lane k keeps choice k
  int own_id = view.num_experts;
  for (int k = 0; k < view.top_k; ++k) {
    const int e = best_expert(biased, view.num_experts);
    const float score = token_scores.scores[e];
    sum += score;
    if (lane == k) own = score, own_id = e;
    __syncwarp();
    if (lane == 0) biased[e] = -INFINITY;
    __syncwarp();
  }
  if (lane >= view.pitch) return;
  const float factor = (view.renormalize ? 1.0f / (sum + 1e-20f) : 1.0f) * view.scale;
  view.ids[token * view.pitch + lane] = own_id;
  view.weights[token * view.pitch + lane] = lane < view.top_k ? own * factor : 1.0f;
  if (copy != nullptr) copy[lane] = own_id;
}

// Fills view.sorted and view.offsets from view.ids, one block.
void sort_rows(Stream& stream, const RouteView& view, int num_tokens);
// Sizes that all routing kernels take.
[[nodiscard]] bool route_supports(const DeviceCaps& caps, const MoeRouteArgs& args);

}  // namespace gale::cuda
