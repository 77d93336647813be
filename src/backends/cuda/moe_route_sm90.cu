// Routing on Hopper: the eight blocks of a cluster share the experts of a group of tokens; each streams its rows of the router weight
// once against the tokens in shared memory and leaves its logits in the first block's, which chooses, a warp a token. The first loads of
// the weight leave before the predecessor has ended. Up to four tokens the first block also sorts their rows; else a second kernel of
// one block does. Limited by latency at few tokens, by fp32 arithmetic and shared memory at many.
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/route.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kBlocks = 8;
constexpr int kMaxExperts = 256, kMaxShare = kMaxExperts / kBlocks;
constexpr int kMaxHidden = 5120;
constexpr int kSortedTokens = 4;                     // as many as one cluster of the narrow kernel takes
constexpr int kMaxSortedRows = 128;

// kGroup tokens a cluster; a warp takes kExperts at a time.
template <int kTokens, int kExpertsOfWarp, int kNumThreads, bool kIsAlone = false>
struct RouteConfig {
  static constexpr bool kSorts = kIsAlone;             // one cluster has all tokens
  static constexpr int kGroup = kTokens, kExperts = kExpertsOfWarp, kThreads = kNumThreads, kWarps = kNumThreads / kWarpSize;
  static constexpr int kChoosers = kTokens < 8 ? kTokens : 8;   // warps that choose
  static constexpr int kEarly = kExperts == 1 ? 4 : 1;   // loads of the weight before the predecessor has ended
};
using Narrow = RouteConfig<kSortedTokens, 1, 1024, true>;
using Few = RouteConfig<3, 1, 1024>;
using Middle = RouteConfig<8, 1, 1024>;
using Wide = RouteConfig<16, 2, 512>;
using WideHidden = RouteConfig<8, 2, 512>;           // where 16 tokens would fill an SM's shared memory
constexpr int kMaxWideHidden = 3072;

template <class C>
struct Shared {
  float parts[C::kWarps][C::kExperts][C::kGroup];    // a warp's part of its experts' logits
  float logits[C::kGroup][kMaxExperts];              // of all blocks; in the first one
  RouteScores<kMaxExperts> tokens[C::kChoosers];
  int ids[kMaxSortedRows];
};

// A warp's experts and its part of their width. Several warps share one set of experts where there are more warps than sets; their
// parts are added in order.
struct Slice { int first, num_experts, part, num_parts; };

template <class C>
__device__ Slice slice_of(int num_own) {
  const int sets = (num_own + C::kExperts - 1) / C::kExperts, warp = threadIdx.x / kWarpSize;
  const int num_parts = max(1, C::kWarps / max(1, sets)), first = warp / num_parts * C::kExperts;
  return {first, max(0, min(C::kExperts, num_own - first)), warp % num_parts, num_parts};
}

template <class C>
struct Sums { float value[C::kExperts][C::kGroup]; };

// Adds four columns of the tokens times four of each expert.
template <class C>
__device__ void add_products(Sums<C>& sums, const float4 (&w)[C::kExperts], const __nv_bfloat16* tokens, int hidden, int at) {
#pragma unroll
  for (int t = 0; t < C::kGroup; ++t) {
    const auto* x = reinterpret_cast<const __nv_bfloat162*>(tokens + t * hidden + at);
    const float2 low = __bfloat1622float2(x[0]), high = __bfloat1622float2(x[1]);
#pragma unroll
    for (int e = 0; e < C::kExperts; ++e)
      sums.value[e][t] += w[e].x * low.x + w[e].y * low.y + w[e].z * high.x + w[e].w * high.y;
  }
}

// This block's logits of all tokens into the first block.
template <class C>
__device__ void send_logits(Shared<C>& shared, const Sums<C>& sums, const Slice& slice, int first_expert, int num_own) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
#pragma unroll
  for (int e = 0; e < C::kExperts; ++e)
#pragma unroll
    for (int t = 0; t < C::kGroup; ++t) {
      const float total = warp_sum(sums.value[e][t]);
      if (lane == 0) shared.parts[warp][e][t] = total;
    }
  __syncthreads();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");   // the first block has started
  for (int i = threadIdx.x; i < num_own * C::kGroup; i += C::kThreads) {
    const int own = i / C::kGroup, t = i % C::kGroup, first_warp = own / C::kExperts * slice.num_parts;
    float total = 0;
    for (int p = 0; p < slice.num_parts; ++p) total += shared.parts[first_warp + p][own % C::kExperts][t];
    asm volatile("{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, 0;\nst.shared::cluster.f32 [remote], %1;\n}" ::"r"(
                     shared_address(&shared.logits[t][first_expert + own])), "f"(total) : "memory");
  }
}

// Rows in the order of their expert, by counting: row r stands behind those of smaller experts and earlier ones of its own.
__device__ void sort_few(const RouteView& view, const int* ids, int num_rows, int num_matrices) {
  for (int r = threadIdx.x; r < num_rows; r += blockDim.x) {
    int place = 0;
    for (int other = 0; other < num_rows; ++other) place += ids[other] < ids[r] || (ids[other] == ids[r] && other < r);
    view.sorted[place] = r;
  }
  for (int e = threadIdx.x; e <= num_matrices; e += blockDim.x) {
    int before = 0;
    for (int other = 0; other < num_rows; ++other) before += ids[other] < e;
    view.offsets[e] = before;
  }
}

template <class C>
__device__ void load_weights(float4 (&w)[C::kExperts], const float* gate, const Slice& slice, int hidden, int at) {
#pragma unroll
  for (int e = 0; e < C::kExperts; ++e)
    w[e] = e < slice.num_experts && at < hidden ? *reinterpret_cast<const float4*>(gate + static_cast<int64_t>(e) * hidden + at) : float4{};
}

// By the first block, once all logits are there.
template <class C>
__device__ void choose(const RouteView& view, Shared<C>& shared, int first_token, int count, int num_tokens) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  for (int t = warp; warp < C::kChoosers && t < count; t += C::kChoosers) {
    RouteScores<kMaxExperts>& scores = shared.tokens[warp];
    for (int e = lane; e < view.num_experts; e += kWarpSize) scores.set(e, shared.logits[t][e], view.bias[e]);
    __syncwarp();
    choose_experts(scores, view, first_token + t, C::kSorts ? shared.ids + t * view.pitch : nullptr);
    __syncwarp();
  }
  if (!C::kSorts) return;
  __syncthreads();
  sort_few(view, shared.ids, num_tokens * view.pitch, view.num_experts + (view.has_shared ? 1 : 0));
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1024 / C::kThreads) route_kernel(RouteView view, int num_tokens) {
  extern __shared__ __align__(16) __nv_bfloat16 tokens[];
  __shared__ Shared<C> shared;
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  const int rank = blockIdx.x % kBlocks, first_token = blockIdx.x / kBlocks * C::kGroup, count = min(C::kGroup, num_tokens - first_token);
  const int share = (view.num_experts + kBlocks - 1) / kBlocks, first_expert = rank * share, hidden = view.hidden;
  const int num_own = max(0, min(share, view.num_experts - first_expert));
  const Slice slice = slice_of<C>(num_own);
  const float* gate = view.gate + static_cast<int64_t>(first_expert + slice.first) * hidden;
  const int begin = (slice.part * kWarpSize + static_cast<int>(threadIdx.x) % kWarpSize) * 4, step = slice.num_parts * kWarpSize * 4;
  float4 early[C::kEarly][C::kExperts];
#pragma unroll
  for (int i = 0; i < C::kEarly; ++i) load_weights<C>(early[i], gate, slice, hidden, begin + i * step);
  wait_for_predecessor();
  release_successor();
  const auto* in = static_cast<const __nv_bfloat16*>(view.in);
  for (int i = threadIdx.x * 8; i < C::kGroup * hidden; i += C::kThreads * 8) {
    const int t = i / hidden;
    *reinterpret_cast<uint4*>(tokens + i) =
        t < count ? *reinterpret_cast<const uint4*>(in + (first_token + t) * view.in_stride + i % hidden) : uint4{};
  }
  __syncthreads();
  Sums<C> sums{};
#pragma unroll
  for (int i = 0; i < C::kEarly; ++i)
    if (begin + i * step < hidden) add_products<C>(sums, early[i], tokens, hidden, begin + i * step);
#pragma unroll 4
  for (int at = begin + C::kEarly * step; at < hidden; at += step) {
    float4 w[C::kExperts];
    load_weights<C>(w, gate, slice, hidden, at);
    add_products<C>(sums, w, tokens, hidden, at);
  }
  send_logits<C>(shared, sums, slice, first_expert, num_own);
  cluster_sync();
  if (rank == 0) choose<C>(view, shared, first_token, count, num_tokens);
}

template <class C>
void run_groups(Stream& stream, const RouteView& view, int num_tokens) {
  const size_t shared_bytes = static_cast<size_t>(C::kGroup) * view.hidden * sizeof(__nv_bfloat16);
  const cudaError_t error =
      cudaFuncSetAttribute(route_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, route_kernel<C>, dim3(ceil_div(num_tokens, C::kGroup) * kBlocks), kBlocks, dim3(C::kThreads), shared_bytes,
                     view, num_tokens);
}

}  // namespace

void run_route_cluster(Stream& stream, const MoeRouteArgs& args) {
  const RouteView view = route_view(args);
  const int num_tokens = static_cast<int>(args.in.shape[0]);
  if (num_tokens <= kSortedTokens) return run_groups<Narrow>(stream, view, num_tokens);
  // A dozen clusters of big blocks find room at once; more tokens go to blocks of which two share an SM.
  if (num_tokens <= 12 * Few::kGroup) {
    run_groups<Few>(stream, view, num_tokens);
  } else if (num_tokens <= 12 * Middle::kGroup) {
    run_groups<Middle>(stream, view, num_tokens);
  } else if (view.hidden <= kMaxWideHidden) {
    run_groups<Wide>(stream, view, num_tokens);
  } else {
    run_groups<WideHidden>(stream, view, num_tokens);
  }
  sort_rows(stream, view, num_tokens);
}

bool route_cluster_supports(const DeviceCaps& caps, const MoeRouteArgs& args) {
  const int64_t num_experts = args.gate_weight.shape[0], hidden = args.in.shape[1];
  const bool is_aligned = reinterpret_cast<uintptr_t>(args.in.data) % 16 == 0 && args.in.strides[0] % 8 == 0 &&
                          reinterpret_cast<uintptr_t>(args.gate_weight.data) % 16 == 0;
  return caps.compute_capability == 90 && route_supports(caps, args) && args.in.dtype == DType::kBF16 && is_aligned && hidden % 8 == 0 &&
         hidden <= kMaxHidden && num_experts <= kMaxExperts && args.expert_ids.shape[1] * kSortedTokens <= kMaxSortedRows;
}

}  // namespace gale::cuda
