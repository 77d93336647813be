// Routing on Hopper by tensor cores. A weight is the exact sum of three bf16 numbers, the tokens are bf16, so three
// products with fp32 sums are what fp32 arithmetic gives. The eight blocks of a cluster share the width of a group of
// tokens: each multiplies its columns for all experts, straight from global memory into fragments, and leaves its
// parts in shared memory; then each block adds up the parts of some tokens and chooses, a warp a token. The first
// weights are requested before the predecessor has ended. Up to 16 tokens the first block also sorts their rows; else
// a second kernel does. Limited by latency at few tokens, by the reading of the weights from L2 at many.
#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/logits.cuh"
#include "backends/cuda/device/route.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kBlocks = 8;
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kMaxExperts = 256;
constexpr int kStep = 32;                            // columns a step: two products, eight neighbours a thread
constexpr int kTileTokens = 16;                      // of one product
constexpr int kMaxSortedRows = 512;                  // by the first block
constexpr int kSortThreads = 1024, kSortItems = 8;

// kTiles times 16 tokens a cluster; a warp takes kSets times 8 experts. kIsMany: so many clusters that two blocks an SM
// hide each other's latency, which takes half of the registers.
template <int kNumTiles, int kNumSets, bool kIsMany>
struct RouteConfig {
  static constexpr int kTiles = kNumTiles, kSets = kNumSets, kBlocksAnSm = kIsMany ? 2 : 0;   // 0: as many as fit
  static constexpr int kGroup = kTiles * kTileTokens;             // tokens
  static constexpr int kExperts = kSets * 8 * kWarps;             // padded
  static constexpr int kPitch = kExperts + 8;  // floats, of a token's parts; the 8 spread rows over the banks
  static constexpr int kPerLane = kExperts / kWarpSize;
  static constexpr int kBatch = kTiles == 1                        ? (kSets == 1 ? 4 : 2)
                                : kTiles * kSets <= 4 && !kIsMany ? 2
                                                                   : 1;  // steps whose loads are under way
  static constexpr int kChains =
      kTiles * kSets <= 4 && !kIsMany ? 3 : 1;  // sums a result, where registers allow: products wait less
  static constexpr int kSharedBytes = kGroup * kPitch * static_cast<int>(sizeof(float));
};

// This thread's eight neighbouring columns of an expert's weights.
struct Weights { float4 low, high; };

__device__ Weights load_weights(const float* row, int column, int hidden) {
  if (row == nullptr || column >= hidden) return {};
  const auto* p = reinterpret_cast<const float4*>(row + column);
  return {p[0], p[1]};
}

__device__ uint32_t pack_pair(float a, float b) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
// Rounds a pair to bf16 and leaves what is missing in it.
__device__ uint32_t take_part(float& a, float& b) {
  const uint32_t pair = pack_pair(a, b);
  a -= __uint_as_float(pair << 16), b -= __uint_as_float(pair & 0xFFFF0000u);
  return pair;
}

// The weights of two products, four columns each, as three bf16 parts.
struct Parts { uint32_t word[3][4]; };

__device__ Parts split(Weights w) {
  Parts parts;
#pragma unroll
  for (int part = 0; part < 3; ++part) {
    parts.word[part][0] = take_part(w.low.x, w.low.y), parts.word[part][1] = take_part(w.low.z, w.low.w);
    parts.word[part][2] = take_part(w.high.x, w.high.y), parts.word[part][3] = take_part(w.high.z, w.high.w);
  }
  return parts;
}

template <class C>
struct Sums { float value[C::kChains][C::kTiles][C::kSets][4]; };

// Which columns of k an element of a fragment stands for is free, as long as both operands agree: thread t of four
// takes eight neighbours, the first four in the first product.
template <class C>
__device__ void add_products(Sums<C>& sums, const Parts (&weights)[C::kSets], const uint4 (&tokens)[C::kTiles][2]) {
#pragma unroll
  for (int set = 0; set < C::kSets; ++set) {
    const Parts& parts = weights[set];
    uint32_t rest = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) rest |= parts.word[1][i] | parts.word[2][i];
    const bool is_exact = !__any_sync(kFullMask, rest != 0);        // weights that were bf16 in the checkpoint
#pragma unroll
    for (int part = 0; part < 3; ++part) {
      if (part > 0 && is_exact) break;
      const uint32_t first[2] = {parts.word[part][0], parts.word[part][1]},
                     second[2] = {parts.word[part][2], parts.word[part][3]};
#pragma unroll
      for (int tile = 0; tile < C::kTiles; ++tile) {
        const uint4 &upper = tokens[tile][0], &lower = tokens[tile][1];
        const uint32_t a[4] = {upper.x, lower.x, upper.y, lower.y}, b[4] = {upper.z, lower.z, upper.w, lower.w};
        float(&sum)[4] = sums.value[part % C::kChains][tile][set];
        mma_m16n8k16(sum, a, first);
        mma_m16n8k16(sum, b, second);
      }
    }
  }
}

// This block's columns for all tokens of the group and all experts, into shared memory.
template <class C>
__device__ void multiply(const RouteView& view, float* parts, int first_token, int count) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, rank = blockIdx.x % kBlocks,
            hidden = view.hidden;
  const int num_steps = (hidden + kStep - 1) / kStep, begin = num_steps * rank / kBlocks,
            end = num_steps * (rank + 1) / kBlocks;
  const float* rows[C::kSets];
#pragma unroll
  for (int set = 0; set < C::kSets; ++set) {
    const int expert = (set * kWarps + warp) * 8 + lane / 4;
    rows[set] = expert < view.num_experts ? view.gate + static_cast<int64_t>(expert) * hidden : nullptr;
  }
  const auto column_of = [&](int step) { return step < end ? step * kStep + lane % 4 * 8 : hidden; };
  Weights weights[C::kBatch][C::kSets];
  const auto request = [&](int step) {
#pragma unroll
    for (int i = 0; i < C::kBatch; ++i)
#pragma unroll
      for (int set = 0; set < C::kSets; ++set) weights[i][set] = load_weights(rows[set], column_of(step + i), hidden);
  };
  Parts split_weights[C::kBatch][C::kSets];
  const auto split_all = [&] {
#pragma unroll
    for (int i = 0; i < C::kBatch; ++i)
#pragma unroll
      for (int set = 0; set < C::kSets; ++set) split_weights[i][set] = split(weights[i][set]);
  };
  const auto* in = static_cast<const __nv_bfloat16*>(view.in) + first_token * view.in_stride;
  uint4 tokens[C::kBatch][C::kTiles][2];
  const auto request_tokens = [&](int step) {
#pragma unroll
    for (int i = 0; i < C::kBatch; ++i)
#pragma unroll
      for (int half = 0; half < 2 * C::kTiles; ++half) {
        const int t = half * 8 + lane / 4, column = column_of(step + i);
        tokens[i][half / 2][half % 2] =
            t < count && column < hidden ? *reinterpret_cast<const uint4*>(in + t * view.in_stride + column) : uint4{};
      }
  };
  request(begin);
  split_all();
  request(begin + C::kBatch);
  wait_for_predecessor();
  release_successor();
  request_tokens(begin);
  Sums<C> sums{};
  for (int step = begin; step < end; step += C::kBatch) {
    uint4 current[C::kBatch][C::kTiles][2];
#pragma unroll
    for (int i = 0; i < C::kBatch; ++i)
#pragma unroll
      for (int half = 0; half < 2 * C::kTiles; ++half) current[i][half / 2][half % 2] = tokens[i][half / 2][half % 2];
    request_tokens(step + C::kBatch);
#pragma unroll
    for (int i = 0; i < C::kBatch; ++i) add_products<C>(sums, split_weights[i], current[i]);
    split_all();
    request(step + 2 * C::kBatch);
  }
#pragma unroll
  for (int tile = 0; tile < C::kTiles; ++tile)
#pragma unroll
    for (int set = 0; set < C::kSets; ++set)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 sum{};
#pragma unroll
        for (int chain = C::kChains - 1; chain >= 0; --chain)
          sum.x += sums.value[chain][tile][set][half * 2], sum.y += sums.value[chain][tile][set][half * 2 + 1];
        float* to =
            parts + (tile * kTileTokens + half * 8 + lane / 4) * C::kPitch + (set * kWarps + warp) * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = sum;
      }
}

__device__ float load_part(const float* p, int block_rank) {
  float x;
  asm volatile("{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %1, %2;\nld.shared::cluster.f32 %0, [remote];\n}"
               : "=f"(x) : "r"(shared_address(p)), "r"(block_rank) : "memory");
  return x;
}

// Of one token, by one warp: lane l holds the experts l, l + 32, …
template <class C>
struct TokenScores {
  float score[C::kPerLane];
  uint32_t key[C::kPerLane];                         // of the biased score; 0: out

  // Adds up the parts of all blocks, in their order.
  __device__ void load(const RouteView& view, const float* parts, float* by_group) {
    const int lane = threadIdx.x % kWarpSize;
    float part[kBlocks][C::kPerLane];
#pragma unroll
    for (int rank = 0; rank < kBlocks; ++rank)
#pragma unroll
      for (int i = 0; i < C::kPerLane; ++i) part[rank][i] = load_part(parts + i * kWarpSize + lane, rank);
    float biased[C::kPerLane];
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i) {
      const int expert = i * kWarpSize + lane;
      float logit = 0;
#pragma unroll
      for (int rank = 0; rank < kBlocks; ++rank) logit += part[rank][i];
      score[i] = 1.0f / (1.0f + expf(-logit));
      biased[i] = expert < view.num_experts ? score[i] + view.bias[expert] : 0.0f;
    }
    if (view.num_groups > 1) limit_to_groups(view, biased, by_group);
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i) key[i] = i * kWarpSize + lane < view.num_experts ? key_of(biased[i]) : 0;
  }

  __device__ static void limit_to_groups(const RouteView& view, float (&biased)[C::kPerLane], float* by_group) {
    const int lane = threadIdx.x % kWarpSize;
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i) by_group[i * kWarpSize + lane] = biased[i];
    __syncwarp();
    if (lane == 0) drop_groups(by_group, view);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i) biased[i] = by_group[i * kWarpSize + lane];
    __syncwarp();
  }

  // Takes the best expert out, the lowest on ties, and gives it and its score.
  __device__ int take_best(float& best_score) {
    const int lane = threadIdx.x % kWarpSize;
    uint32_t best = 0;
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i) best = max(best, key[i]);
    best = __reduce_max_sync(kFullMask, best);
    unsigned index = kMaxRoutedExperts;
#pragma unroll
    for (int i = C::kPerLane - 1; i >= 0; --i)
      if (key[i] == best) index = i * kWarpSize + lane;
    index = __reduce_min_sync(kFullMask, index);
    float own = 0;
#pragma unroll
    for (int i = 0; i < C::kPerLane; ++i)
      if (index == static_cast<unsigned>(i * kWarpSize + lane)) own = score[i], key[i] = 0;
    best_score = __shfl_sync(kFullMask, own, index % kWarpSize);
    return static_cast<int>(index);
  }
};

template <class C>
__device__ void choose(const RouteView& view, TokenScores<C>& scores, int64_t token, int* copy) {
  const int lane = threadIdx.x % kWarpSize;
  float sum = 0, own = 0;                            // lane k keeps choice k
  int own_id = view.num_experts;
  for (int k = 0; k < view.top_k; ++k) {
    float score;
    const int expert = scores.take_best(score);
    sum += score;
    if (lane == k) own = score, own_id = expert;
  }
  if (lane >= view.pitch) return;
  const float factor = (view.renormalize ? 1.0f / (sum + 1e-20f) : 1.0f) * view.scale;
  view.ids[token * view.pitch + lane] = own_id;
  view.weights[token * view.pitch + lane] = lane < view.top_k ? own * factor : 1.0f;
  if (copy != nullptr) copy[lane] = own_id;
}

// Rows in the order of their expert, by counting: row r stands behind those of smaller experts and earlier ones of
// its own.
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

template <class C>
__global__ void __launch_bounds__(kThreads, C::kBlocksAnSm)
    route_kernel(RouteView view, int num_tokens, bool is_alone) {
  extern __shared__ float parts[];
  __shared__ float by_group[kWarps][C::kExperts];
  __shared__ int ids[kMaxSortedRows];
  const int rank = blockIdx.x % kBlocks, warp = threadIdx.x / kWarpSize;
  const int first_token = blockIdx.x / kBlocks * C::kGroup, count = min(C::kGroup, num_tokens - first_token);
  multiply<C>(view, parts, first_token, count);
  cluster_sync();
  // A cluster that has all tokens leaves them to its first block, which sorts their rows.
  constexpr int kOwn = C::kGroup / kBlocks;
  const int begin = is_alone ? 0 : rank * kOwn, end = min(count, is_alone ? (rank == 0 ? count : 0) : begin + kOwn);
  for (int t = begin + warp; t < end; t += kWarps) {
    TokenScores<C> scores;
    scores.load(view, parts + t * C::kPitch, by_group[warp]);
    choose<C>(view, scores, first_token + t, is_alone ? ids + t * view.pitch : nullptr);
  }
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  if (is_alone && rank == 0) {
    __syncthreads();
    sort_few(view, ids, num_tokens * view.pitch, view.num_experts + (view.has_shared ? 1 : 0));
  }
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");   // nobody leaves while others read its parts
}

// Rows by expert, each block of the cluster an equal share of them: counts of a block, the sums of all blocks, then
// every row to its place. The rows of the shared expert are known beforehand.
__global__ void __launch_bounds__(kSortThreads) sort_kernel(RouteView view, int num_tokens, int num_blocks) {
  __shared__ int counts[kMaxExperts], bases[kMaxExperts];
  __shared__ int scan[kWarpSize];
  const int e = threadIdx.x, lane = e % kWarpSize, warp = e / kWarpSize, rank = blockIdx.x,
            num_rows = num_tokens * view.pitch;
  if (e < kMaxExperts) counts[e] = 0;
  wait_for_predecessor();
  release_successor();
  int id[kSortItems], place[kSortItems];
#pragma unroll
  for (int item = 0; item < kSortItems; ++item) {
    const int r = (item * num_blocks + rank) * kSortThreads + e;
    id[item] = r < num_rows ? view.ids[r] : -1;
  }
  __syncthreads();
#pragma unroll
  for (int item = 0; item < kSortItems; ++item)
    if (id[item] >= 0 && id[item] < view.num_experts) place[item] = atomicAdd(&counts[id[item]], 1);
  cluster_sync();
  int before = 0, total = 0;
  if (e < view.num_experts) {
    for (int other = 0; other < num_blocks; ++other) {
      const int count = __float_as_int(load_part(reinterpret_cast<const float*>(counts) + e, other));
      total += count;
      if (other < rank) before += count;
    }
  }
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  int upto = warp_prefix_sum(total);
  if (lane == kWarpSize - 1) scan[warp] = upto;
  __syncthreads();
  if (e < view.num_experts) {
    for (int w = 0; w < warp; ++w) upto += scan[w];
    bases[e] = upto - total + before;
    if (rank == 0) view.offsets[e] = upto - total;
  }
  const int num_routed = num_tokens * view.top_k;
  if (rank == 0 && e == 0) {
    view.offsets[view.num_experts] = num_routed;
    if (view.has_shared) view.offsets[view.num_experts + 1] = num_rows;
  }
  __syncthreads();
#pragma unroll
  for (int item = 0; item < kSortItems; ++item) {
    const int r = (item * num_blocks + rank) * kSortThreads + e;
    if (id[item] >= 0)
      view.sorted[id[item] < view.num_experts ? bases[id[item]] + place[item] : num_routed + r / view.pitch] = r;
  }
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

template <class C>
void run_groups(Stream& stream, const RouteView& view, int num_tokens, bool is_alone) {
  const cudaError_t error =
      cudaFuncSetAttribute(route_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, route_kernel<C>, dim3(ceil_div(num_tokens, C::kGroup) * kBlocks), kBlocks, dim3(kThreads),
                     C::kSharedBytes, view, num_tokens, is_alone);
}

template <int kTiles, bool kIsMany = false>
void run_tiles(Stream& stream, const RouteView& view, int num_tokens, bool is_alone) {
  if (view.num_experts <= 64) return run_groups<RouteConfig<kTiles, 1, kIsMany>>(stream, view, num_tokens, is_alone);
  if (view.num_experts <= 128) return run_groups<RouteConfig<kTiles, 2, kIsMany>>(stream, view, num_tokens, is_alone);
  run_groups<RouteConfig<kTiles, 4, false>>(stream, view, num_tokens, is_alone);
}

}  // namespace

void run_route_cluster(Stream& stream, const MoeRouteArgs& args) {
  const RouteView view = route_view(args);
  const int num_tokens = static_cast<int>(args.in.shape[0]), num_rows = num_tokens * view.pitch;
  if (num_tokens == 0) return;
  const bool is_alone = num_tokens <= kTileTokens && num_rows <= kMaxSortedRows;
  // Narrow groups as long as all clusters find room at once: a dozen do, sixteen take two turns, of blocks that leave
  // room for a second on their SM twice as many.
  if (num_tokens <= 12 * kTileTokens) {
    run_tiles<1>(stream, view, num_tokens, is_alone);
  } else if (num_tokens <= 12 * 2 * kTileTokens) {
    run_tiles<2>(stream, view, num_tokens, false);
  } else if (num_tokens <= 12 * 4 * kTileTokens) {
    run_tiles<4>(stream, view, num_tokens, false);
  } else {
    run_tiles<4, true>(stream, view, num_tokens, false);
  }
  if (is_alone) return;
  const int num_blocks = num_rows <= 2 * kSortThreads ? 1 : kBlocks;
  if (num_rows > num_blocks * kSortThreads * kSortItems) return sort_rows(stream, view, num_tokens);
  launch_cluster_pdl(stream, sort_kernel, dim3(num_blocks), num_blocks, dim3(kSortThreads), 0, view, num_tokens,
                     num_blocks);
}

bool route_cluster_supports(const DeviceCaps& caps, const MoeRouteArgs& args) {
  const int64_t num_experts = args.gate_weight.shape[0], hidden = args.in.shape[1];
  const bool is_aligned = reinterpret_cast<uintptr_t>(args.in.data) % 16 == 0 && args.in.strides[0] % 8 == 0 &&
                          reinterpret_cast<uintptr_t>(args.gate_weight.data) % 16 == 0;
  return caps.compute_capability == 90 && route_supports(caps, args) && args.in.dtype == DType::kBF16 && is_aligned &&
         hidden % 8 == 0 && num_experts <= kMaxExperts;
}

}  // namespace gale::cuda
