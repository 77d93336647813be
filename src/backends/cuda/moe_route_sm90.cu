// Routing on Hopper: the eight blocks of a cluster share the experts of a group of tokens, each streams its rows of the router weight
// once (16 bytes a load, fetched into L2 before the predecessor ends) against the tokens in shared memory; then the first block
// gathers the scores and chooses, a warp a token. Up to four tokens it also sorts their rows; else a second kernel of one block does.
// Limited by the latency of the weight's loads at few tokens, by fp32 arithmetic at many.
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/route.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarpSize;
constexpr int kBlocks = 8;
constexpr int kMaxExperts = 256;
constexpr int kMaxHidden = 7168;
constexpr int kSortedTokens = 4;                     // as many as one cluster of the narrow kernel takes
constexpr int kMaxSortedRows = 128;

template <int kGroup>
struct Shared {
  float parts[kWarps][kGroup];                       // a warp's part of its expert's logits
  float logits[kGroup][kMaxExperts / kBlocks];       // of this block's experts
  RouteScores<kMaxExperts> tokens[kGroup];
  int ids[kMaxSortedRows];
};

// Logits of this block's experts for all tokens of the group. Several warps share the width of one expert where there are more warps
// than experts; their parts are added in order.
template <int kGroup>
__device__ void multiply(const RouteView& view, const __nv_bfloat16* tokens, Shared<kGroup>& shared, int first_expert, int num_own) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int num_parts = max(1, kWarps / max(1, num_own)), own = warp / num_parts, part = warp % num_parts;
  if (own < num_own) {                               // kMaxExperts / kBlocks <= kWarps: an expert for each warp at most
    const float* gate = view.gate + static_cast<int64_t>(first_expert + own) * view.hidden;
    float sum[kGroup] = {};
#pragma unroll 8
    for (int i = (part * kWarpSize + lane) * 4; i < view.hidden; i += num_parts * kWarpSize * 4) {
      const float4 w = *reinterpret_cast<const float4*>(gate + i);
#pragma unroll
      for (int t = 0; t < kGroup; ++t) {
        const auto* x = reinterpret_cast<const __nv_bfloat162*>(tokens + t * view.hidden + i);
        const float2 low = __bfloat1622float2(x[0]), high = __bfloat1622float2(x[1]);
        sum[t] += w.x * low.x + w.y * low.y + w.z * high.x + w.w * high.y;
      }
    }
#pragma unroll
    for (int t = 0; t < kGroup; ++t) {
      const float total = warp_sum(sum[t]);
      if (lane == 0) shared.parts[warp][t] = total;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < num_own * kGroup; i += kThreads) {
    float total = 0;
    for (int p = 0; p < num_parts; ++p) total += shared.parts[i / kGroup * num_parts + p][i % kGroup];
    shared.logits[i % kGroup][i / kGroup] = total;
  }
}

// Rows in the order of their expert, by counting: row r stands behind those of smaller experts and earlier ones of its own.
__device__ void sort_few(const RouteView& view, const int* ids, int num_rows, int num_matrices) {
  for (int r = threadIdx.x; r < num_rows; r += kThreads) {
    int place = 0;
    for (int other = 0; other < num_rows; ++other) place += ids[other] < ids[r] || (ids[other] == ids[r] && other < r);
    view.sorted[place] = r;
  }
  for (int e = threadIdx.x; e <= num_matrices; e += kThreads) {
    int before = 0;
    for (int other = 0; other < num_rows; ++other) before += ids[other] < e;
    view.offsets[e] = before;
  }
}

template <int kGroup>
__global__ void __launch_bounds__(kThreads, 1) route_kernel(RouteView view, int num_tokens) {
  extern __shared__ __align__(16) __nv_bfloat16 tokens[];
  __shared__ Shared<kGroup> shared;
  const int rank = blockIdx.x % kBlocks, first_token = blockIdx.x / kBlocks * kGroup, count = min(kGroup, num_tokens - first_token);
  const int share = (view.num_experts + kBlocks - 1) / kBlocks, first_expert = rank * share;
  const int num_own = max(0, min(share, view.num_experts - first_expert));
  const char* own_gate = reinterpret_cast<const char*>(view.gate + static_cast<int64_t>(first_expert) * view.hidden);
  for (int64_t at = threadIdx.x * 128; at < static_cast<int64_t>(num_own) * view.hidden * 4; at += kThreads * 128)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(own_gate + at));
  wait_for_predecessor();
  release_successor();
  const auto* in = static_cast<const __nv_bfloat16*>(view.in);
  for (int i = threadIdx.x * 8; i < kGroup * view.hidden; i += kThreads * 8) {
    const int t = i / view.hidden;
    *reinterpret_cast<uint4*>(tokens + i) =
        t < count ? *reinterpret_cast<const uint4*>(in + (first_token + t) * view.in_stride + i % view.hidden) : uint4{};
  }
  __syncthreads();
  multiply<kGroup>(view, tokens, shared, first_expert, num_own);
  cluster_sync();
  if (rank == 0) {
    const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
    for (int t = warp; t < count; t += kWarps) {
      RouteScores<kMaxExperts>& scores = shared.tokens[t];
      for (int e = lane; e < view.num_experts; e += kWarpSize) {
        float logit;
        asm volatile("{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %1, %2;\nld.shared::cluster.f32 %0, [remote];\n}"
                     : "=f"(logit) : "r"(shared_address(&shared.logits[t][e % share])), "r"(e / share) : "memory");
        scores.set(e, logit, view.bias[e]);
      }
      __syncwarp();
      choose_experts(scores, view, first_token + t, kGroup <= kSortedTokens ? shared.ids + t * view.pitch : nullptr);
    }
    __syncthreads();
    if (kGroup == kSortedTokens && num_tokens <= kSortedTokens)
      sort_few(view, shared.ids, num_tokens * view.pitch, view.num_experts + (view.has_shared ? 1 : 0));
  }
  cluster_sync();                                    // nobody leaves while the first block reads its shared memory
}

template <int kGroup>
void run_groups(Stream& stream, const RouteView& view, int num_tokens) {
  const size_t shared_bytes = static_cast<size_t>(kGroup) * view.hidden * sizeof(__nv_bfloat16);
  const cudaError_t error =
      cudaFuncSetAttribute(route_kernel<kGroup>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, route_kernel<kGroup>, dim3(ceil_div(num_tokens, kGroup) * kBlocks), kBlocks, dim3(kThreads), shared_bytes,
                     view, num_tokens);
}

}  // namespace

void run_route_cluster(Stream& stream, const MoeRouteArgs& args) {
  const RouteView view = route_view(args);
  const int num_tokens = static_cast<int>(args.in.shape[0]);
  if (num_tokens <= kSortedTokens) return run_groups<kSortedTokens>(stream, view, num_tokens);
  if (num_tokens <= 32) {
    run_groups<2>(stream, view, num_tokens);
  } else {
    run_groups<12>(stream, view, num_tokens);
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
