// Routing, portable: one block a token (the router product is fp32), then one block sorts all (token, expert) rows by expert. Limited
// by latency at few tokens.
#include "backends/cuda/device/route.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kRouteThreads = 256, kSortThreads = 1024;

template <class T>
__global__ void __launch_bounds__(kRouteThreads) route_kernel(RouteView view) {
  __shared__ RouteScores<kMaxRoutedExperts> scores;
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, token = blockIdx.x;
  const T* x = static_cast<const T*>(view.in) + token * view.in_stride;
  for (int e = warp; e < view.num_experts; e += kRouteThreads / kWarpSize) {
    float dot = 0;
    for (int i = lane; i < view.hidden; i += kWarpSize) dot += to_float(x[i]) * view.gate[static_cast<int64_t>(e) * view.hidden + i];
    dot = warp_sum(dot);
    if (lane == 0) scores.set(e, dot, view.bias[e]);
  }
  __syncthreads();
  if (warp == 0) choose_experts(scores, view, token, nullptr);
}

// Adds one to counts[id] for each lane with is_in, and gives the lane's place among all; lanes of one id make one atomic.
__device__ int take_place(int* counts, int id, bool is_in) {
  const unsigned active = __ballot_sync(kFullMask, is_in);
  if (!is_in) return 0;
  const unsigned same = __match_any_sync(active, id);
  const int lane = threadIdx.x % kWarpSize, leader = __ffs(same) - 1;
  int first = 0;
  if (lane == leader) first = atomicAdd(&counts[id], __popc(same));
  return __shfl_sync(same, first, leader) + __popc(same & ((1u << lane) - 1u));
}

// Rows (token * K + k) in the order of their expert; offsets[e] is where expert e begins. Within an expert the order is free:
// rows do not influence each other.
__global__ void __launch_bounds__(kSortThreads) sort_kernel(RouteView view, int num_rows, int num_matrices) {
  __shared__ int counts[kMaxRoutedExperts + 1];
  __shared__ int scan[kWarpSize];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  for (int e = threadIdx.x; e < num_matrices; e += kSortThreads) counts[e] = 0;
  wait_for_predecessor();
  release_successor();
  __syncthreads();
  const int num_rounds = (num_rows + kSortThreads - 1) / kSortThreads;
  for (int round = 0; round < num_rounds; ++round) {
    const int r = round * kSortThreads + static_cast<int>(threadIdx.x);
    take_place(counts, r < num_rows ? view.ids[r] : 0, r < num_rows);
  }
  __syncthreads();
  const int own = threadIdx.x < num_matrices ? counts[threadIdx.x] : 0;   // num_matrices <= kSortThreads
  int upto = warp_prefix_sum(own);
  if (lane == kWarpSize - 1) scan[warp] = upto;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += scan[w];
  if (threadIdx.x < num_matrices) view.offsets[threadIdx.x] = counts[threadIdx.x] = upto - own;
  if (threadIdx.x == 0) view.offsets[num_matrices] = num_rows;
  __syncthreads();
  for (int round = 0; round < num_rounds; ++round) {
    const int r = round * kSortThreads + static_cast<int>(threadIdx.x);
    const int place = take_place(counts, r < num_rows ? view.ids[r] : 0, r < num_rows);
    if (r < num_rows) view.sorted[place] = r;
  }
}

void run_route(Stream& stream, const MoeRouteArgs& args) {
  const RouteView view = route_view(args);
  const int num_tokens = static_cast<int>(args.in.shape[0]);
  with_float_type(args.in.dtype, [&](auto t) {
    launch(stream, route_kernel<typename decltype(t)::type>, dim3(num_tokens), dim3(kRouteThreads), 0, view);
  });
  sort_rows(stream, view, num_tokens);
}

}  // namespace

void sort_rows(Stream& stream, const RouteView& view, int num_tokens) {
  launch_pdl(stream, sort_kernel, dim3(num_tokens == 0 ? 0 : 1), dim3(kSortThreads), 0, view, num_tokens * view.pitch,
             view.num_experts + (view.has_shared ? 1 : 0));
}

bool route_supports(const DeviceCaps&, const MoeRouteArgs& args) {
  return args.gate_weight.shape[0] < kMaxRoutedExperts && args.num_groups <= kMaxExpertGroups && args.expert_ids.shape[1] <= kWarpSize &&
         !args.sorted_rows.is_empty() && !args.expert_offsets.is_empty();
}

const OpImpl<MoeRouteArgs> kMoeRoute[2] = {{"moe_route_cluster_sm90", route_cluster_supports, run_route_cluster},
                                           {"moe_route_sm80", route_supports, run_route}};

}  // namespace gale::cuda
