// The down product of experts and the sum over a token's experts, for one or two tokens on Hopper, in one kernel. The
// experts of a token are one long row of K: the eight blocks of a cluster share it evenly for 128 columns of the
// result, whatever expert a share lies in, and add up their parts in the order of their ranks. One warp fills a ring
// of stages by the copy engine, the first weights before the predecessor has ended; two warpgroups multiply. Limited
// by the bytes of the weights.
#include <cuda_bf16.h>

#include "backends/cuda/device/hopper.cuh"
#include "backends/cuda/device/wgmma.cuh"
#include "backends/cuda/moe_few.h"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/product_plan.h"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

constexpr int kBlocks = 8;
constexpr int kRows = 128, kTokens = 8;                // of a product; one token is there and loaded
constexpr int kStages = 6, kWeightBytes = kRows * kSwizzledRowBytes,
              kStageBytes = kWeightBytes + kTokens * kSwizzledRowBytes;
constexpr int kConsumers = 256, kThreads = kConsumers + kWarpSize;
constexpr int kSharedBytes = kStages * kStageBytes + 1024;
constexpr int kMaxChosen = 32, kMaxSpan = kMaxChosen / kBlocks + 2;   // experts of a token, of a share

struct FewView {
  __nv_bfloat16* out;
  int64_t out_stride;
  const float *weight_scales, *in_scales, *expert_weights;   // scales: of e4m3 operands, else null
  const int32_t* ids;
  int size_n, num_k_blocks, num_chosen;
};

struct FewShared {
  uint64_t full[kStages], empty[kStages];
  float factors[kMaxSpan][kRows];                      // of this share's experts
  float parts[kRows];
};

// One warp's lane: weights and tokens of units begin … end, of 128 bytes of K each.
__device__ void produce_few(const CUtensorMap& weight_map, const CUtensorMap& in_map, const FewView& view,
                            FewShared& shared, uint8_t* stages, int begin, int end, int block_k) {
  const int first_row = blockIdx.y * view.num_chosen, n0 = blockIdx.x / kBlocks * kRows;
  const auto load_weights = [&](int unit, int stage) {
    barrier_expect(shared.full[stage], kWeightBytes + kSwizzledRowBytes);
    load_box(stages + stage * kStageBytes, weight_map, unit % view.num_k_blocks * block_k,
             view.ids[first_row + unit / view.num_k_blocks] * view.size_n + n0, shared.full[stage], kEvictFirst);
  };
  const auto load_in = [&](int unit, int stage) {
    load_box(stages + stage * kStageBytes + kWeightBytes, in_map, unit % view.num_k_blocks * block_k,
             first_row + unit / view.num_k_blocks, shared.full[stage], kEvictLast);
  };
  const int num_early = min(kStages, end - begin);
  for (int i = 0; i < num_early; ++i) load_weights(begin + i, i);
  wait_for_predecessor();
  release_successor();
  for (int i = 0; i < num_early; ++i) load_in(begin + i, i);
  for (int i = num_early; i < end - begin; ++i) {
    const int stage = i % kStages;
    barrier_wait(shared.empty[stage], (i / kStages - 1) % 2);
    load_weights(begin + i, stage), load_in(begin + i, stage);
  }
}

// This block's part of the sum for rows n0 …, weights of experts and scales included.
template <class T>
__device__ void consume_few(const FewView& view, FewShared& shared, uint8_t* stages, int begin, int end) {
  const int thread = threadIdx.x, lane = thread % kWarpSize, warp = thread / kWarpSize, group = thread / 128;
  const int first_row = blockIdx.y * view.num_chosen, n0 = blockIdx.x / kBlocks * kRows,
            first_expert = begin / view.num_k_blocks;
  const int span = begin < end ? (end - 1) / view.num_k_blocks - first_expert + 1 : 0;
  constexpr int kItems = kMaxSpan * kRows / kConsumers;
  float factor[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int i = item * kConsumers + thread, row = first_row + first_expert + i / kRows, n = n0 + i % kRows;
    factor[item] = i < span * kRows ? view.expert_weights[row] : 0.0f;
    if (sizeof(T) == 1 && i < span * kRows && n < view.size_n)
      factor[item] *= view.weight_scales[view.ids[row] * static_cast<int64_t>(view.size_n) + n];
  }
  wait_for_predecessor();
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int i = item * kConsumers + thread;
    if (i >= span * kRows) break;
    if (sizeof(T) == 1) factor[item] *= view.in_scales[first_row + first_expert + i / kRows];
    shared.factors[i / kRows][i % kRows] = factor[item];
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  const int row = warp * 16 + lane / 4;                // and the eighth after it; lanes with the first token count
  const uint64_t weights = tile_descriptor(stages + group * 64 * kSwizzledRowBytes),
                 in = tile_descriptor(stages + kWeightBytes);
  float low = 0, high = 0, sum[kTokens / 2] = {};
  for (int unit = begin; unit < end; ++unit) {
    const int i = unit - begin, stage = i % kStages;
    barrier_wait(shared.full[stage], i / kStages % 2);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k)
      wgmma<T, kTokens>(sum, weights + stage * (kStageBytes / 16) + k * 2, in + stage * (kStageBytes / 16) + k * 2,
                        k > 0);
    wgmma_commit();
    wgmma_wait<0>();
    pin_registers(sum);
    if (lane == 0) barrier_arrive(shared.empty[stage]);
    const float(&factors)[kRows] = shared.factors[unit / view.num_k_blocks - first_expert];
    low += sum[0] * factors[row], high += sum[2] * factors[row + 8];
  }
  if (lane % 4 == 0) shared.parts[row] = low, shared.parts[row + 8] = high;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    down_few_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap in_map,
                    const __grid_constant__ FewView view) {
  extern __shared__ uint8_t dynamic_shared[];
  __shared__ FewShared shared;
  uint8_t* stages = dynamic_shared + (1024 - shared_address(dynamic_shared) % 1024) % 1024;
  if (threadIdx.x == 0) {
    prefetch_map(weight_map);
    for (int s = 0; s < kStages; ++s) {
      barrier_init(shared.full[s], 1);
      barrier_init(shared.empty[s], kConsumers / kWarpSize);
    }
    fence_barrier_init();
  }
  __syncthreads();
  const int rank = blockIdx.x % kBlocks, num_units = view.num_k_blocks * view.num_chosen;
  const int begin = num_units * rank / kBlocks, end = num_units * (rank + 1) / kBlocks;
  if (threadIdx.x < kConsumers) {
    consume_few<T>(view, shared, stages, begin, end);
  } else if (threadIdx.x == kConsumers) {
    produce_few(weight_map, in_map, view, shared, stages, begin, end, kSwizzledRowBytes / static_cast<int>(sizeof(T)));
  }
  __syncwarp();
  cluster_sync();
  constexpr int kShare = kRows / kBlocks / 4;          // four columns a thread
  if (threadIdx.x < kShare) {
    const int at = (rank * kShare + static_cast<int>(threadIdx.x)) * 4, n = blockIdx.x / kBlocks * kRows + at;
    float4 sum{};
    for (int other = 0; other < kBlocks; ++other) {
      const float4 part = load_from_block(reinterpret_cast<const float4*>(shared.parts + at), other);
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    const float value[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int j = 0; j < 4; ++j)
      if (n + j < view.size_n) view.out[blockIdx.y * view.out_stride + n + j] = from_float<__nv_bfloat16>(value[j]);
  }
  cluster_sync();                                      // nobody leaves while others read its parts
}

template <class T>
void launch_few(Stream& stream, const MoeDownCombineArgs& args) {
  const PackedWeight& weight = *args.weight;
  const int64_t num_tokens = args.in.shape[0], num_chosen = args.in.shape[1], num_rows = num_tokens * num_chosen;
  FewView view{};
  view.out = bf16(args.out), view.out_stride = args.out.strides[0];
  view.weight_scales = scales_of(weight), view.in_scales = args.in.scales,
  view.expert_weights = args.expert_weights.as<float>();
  view.ids = args.expert_ids.as<int32_t>(), view.size_n = static_cast<int>(weight.num_rows);
  view.num_k_blocks = ceil_div(weight.num_cols * static_cast<int64_t>(sizeof(T)), kSwizzledRowBytes);
  view.num_chosen = static_cast<int>(num_chosen);
  const CUtensorMap weights =
      make_tensor_map({weight.data.data, weight.data.dtype, weight.num_matrices * weight.num_rows, weight.num_cols,
                       packed_pitch(weight.num_cols)},
                      kRows);
  const CUtensorMap in =
      make_tensor_map({args.in.data, args.in.dtype, num_rows, weight.num_cols, args.in.strides[1]}, 1);
  auto kernel = down_few_kernel<T>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  CHECK(error == cudaSuccess, "shared memory of a kernel: {}", cudaGetErrorString(error));
  launch_cluster_pdl(stream, kernel, dim3(ceil_div(view.size_n, kRows) * kBlocks, num_tokens), kBlocks, dim3(kThreads),
                     kSharedBytes, weights, in, view);
}

}  // namespace

bool is_for_few(const MoeDownCombineArgs& args) {
  return args.in.shape[0] >= 1 && args.in.shape[0] <= kMaxFewTokens && args.in.shape[1] <= kMaxChosen;
}

void down_few(Stream& stream, const MoeDownCombineArgs& args) {
  if (args.weight->is_quantized()) return launch_few<__nv_fp8_e4m3>(stream, args);
  launch_few<__nv_bfloat16>(stream, args);
}

}  // namespace gale::cuda
