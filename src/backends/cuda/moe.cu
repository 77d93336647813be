// Mixture of experts, portable. Routing: one block a token (the router product is fp32), then one block sorts all (token, expert)
// rows by expert. Experts: tensor-core tiles of device/gemm.cuh over the rows of one expert, gathered by index. Limited by the bytes
// of the experts that are touched up to some hundred tokens, by arithmetic beyond.
#include "backends/cuda/device/gemm.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"

namespace gale::cuda {
namespace {

constexpr int kRouteThreads = 256;
constexpr int kMaxExperts = 512;
constexpr int kMaxGroups = 32;

struct RouteView {
  int32_t* ids;
  float* weights;
  const void* in;
  int64_t in_stride;
  const float *gate, *bias;
  int num_experts, top_k, pitch, hidden, num_groups, top_k_groups;
  bool renormalize, has_shared;
  float scale;
};

// Groups whose two best biased scores sum highest stay; the experts of all others drop out of the choice.
__device__ void drop_groups(float* biased, const RouteView& view) {
  const int size = view.num_experts / view.num_groups;
  float score[kMaxGroups];
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
__device__ int best_expert(const float* biased, int num_experts) {
  float best = -INFINITY;
  int index = kMaxExperts;
  for (int e = threadIdx.x; e < num_experts; e += kWarpSize)
    if (biased[e] > best) best = biased[e], index = e;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kFullMask, best, offset);
    const int other_index = __shfl_xor_sync(kFullMask, index, offset);
    if (other > best || (other == best && other_index < index)) best = other, index = other_index;
  }
  return index;
}

template <class T>
__global__ void __launch_bounds__(kRouteThreads) route_kernel(RouteView view) {
  __shared__ float scores[kMaxExperts], biased[kMaxExperts];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, token = blockIdx.x;
  const T* x = static_cast<const T*>(view.in) + token * view.in_stride;
  for (int e = warp; e < view.num_experts; e += kRouteThreads / kWarpSize) {
    float dot = 0;
    for (int i = lane; i < view.hidden; i += kWarpSize) dot += to_float(x[i]) * view.gate[static_cast<int64_t>(e) * view.hidden + i];
    dot = warp_sum(dot);
    if (lane == 0) scores[e] = 1.0f / (1.0f + expf(-dot)), biased[e] = scores[e] + view.bias[e];
  }
  __syncthreads();
  if (warp != 0) return;
  if (lane == 0 && view.num_groups > 1) drop_groups(biased, view);
  __syncwarp();
  float sum = 0;
  for (int k = 0; k < view.top_k; ++k) {
    const int e = best_expert(biased, view.num_experts);
    sum += scores[e];
    if (lane == 0) {
      view.ids[token * view.pitch + k] = e;
      view.weights[token * view.pitch + k] = scores[e];
      biased[e] = -INFINITY;
    }
    __syncwarp();
  }
  const float factor = (view.renormalize ? 1.0f / (sum + 1e-20f) : 1.0f) * view.scale;
  for (int k = lane; k < view.top_k; k += kWarpSize) view.weights[token * view.pitch + k] *= factor;
  if (lane == 0 && view.has_shared) {
    view.ids[token * view.pitch + view.top_k] = view.num_experts;
    view.weights[token * view.pitch + view.top_k] = 1.0f;
  }
}

// Rows (token * K + k) in the order of their expert; offsets[e] is where expert e begins. Within an expert the order is free:
// rows do not influence each other.
__global__ void __launch_bounds__(1024) sort_kernel(int32_t* sorted, int32_t* offsets, const int32_t* ids, int num_rows, int num_experts) {
  __shared__ int counts[kMaxExperts + 1];
  for (int e = threadIdx.x; e < num_experts; e += blockDim.x) counts[e] = 0;
  __syncthreads();
  for (int r = threadIdx.x; r < num_rows; r += blockDim.x) atomicAdd(&counts[ids[r]], 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    int total = 0;
    for (int e = 0; e < num_experts; ++e) {
      const int count = counts[e];
      offsets[e] = counts[e] = total;
      total += count;
    }
    offsets[num_experts] = total;
  }
  __syncthreads();
  for (int r = threadIdx.x; r < num_rows; r += blockDim.x) sorted[atomicAdd(&counts[ids[r]], 1)] = r;
}

void run_route(Stream& stream, const MoeRouteArgs& args) {
  RouteView view{};
  view.ids = args.expert_ids.as<int32_t>(), view.weights = args.expert_weights.as<float>();
  view.in = args.in.data, view.in_stride = args.in.strides[0];
  view.gate = args.gate_weight.as<float>(), view.bias = args.correction_bias.as<float>();
  view.num_experts = static_cast<int>(args.gate_weight.shape[0]), view.hidden = static_cast<int>(args.gate_weight.shape[1]);
  view.pitch = static_cast<int>(args.expert_ids.shape[1]), view.top_k = view.pitch - (args.has_shared ? 1 : 0);
  view.num_groups = args.num_groups, view.top_k_groups = args.top_k_groups;
  view.renormalize = args.renormalize, view.has_shared = args.has_shared, view.scale = args.scale;
  const int num_tokens = static_cast<int>(args.in.shape[0]);
  with_float_type(args.in.dtype, [&](auto t) {
    launch(stream, route_kernel<typename decltype(t)::type>, dim3(num_tokens), dim3(kRouteThreads), 0, view);
  });
  launch(stream, sort_kernel, dim3(num_tokens == 0 ? 0 : 1), dim3(1024), 0, args.sorted_rows.as<int32_t>(),
         args.expert_offsets.as<int32_t>(), view.ids, num_tokens * view.pitch, view.num_experts + (args.has_shared ? 1 : 0));
}

bool route_supports(const DeviceCaps&, const MoeRouteArgs& args) {
  return args.gate_weight.shape[0] < kMaxExperts && args.num_groups <= kMaxGroups && !args.sorted_rows.is_empty();
}

// --- experts --------------------------------------------------------------------------------------------------------------------

struct ExpertView {
  const __nv_bfloat16 *in, *weight;
  __nv_bfloat16* out;
  const int32_t *sorted, *offsets;
  int64_t in_stride, out_stride, pitch;
  int num_experts, size_n, size_k, rows_per_input;   // rows_per_input: K if all rows of a token read one input row, else 1
  bool aligned;
};

// blockIdx.y counts tiles of 64 rows over all experts in order; gives the expert and the first row of this tile, or no expert.
__device__ int2 find_tile(const ExpertView& view, int tile) {
  for (int e = 0; e < view.num_experts; ++e) {
    const int tiles = (view.offsets[e + 1] - view.offsets[e] + kTileM - 1) / kTileM;
    if (tile < tiles) return {e, view.offsets[e] + tile * kTileM};
    tile -= tiles;
  }
  return {-1, 0};
}

__global__ void __launch_bounds__(kGemmThreads) expert_kernel(ExpertView view) {
  __shared__ GemmTiles tiles;
  __shared__ int32_t rows[kTileM];
  __shared__ int2 found;
  if (threadIdx.x == 0) found = find_tile(view, blockIdx.y);
  __syncthreads();
  const int expert = found.x, first = found.y;
  if (expert < 0) return;
  const int num_rows = min(kTileM, view.offsets[expert + 1] - first), n0 = blockIdx.x * kTileN;
  for (int r = threadIdx.x; r < num_rows; r += kGemmThreads) rows[r] = view.sorted[first + r];
  __syncthreads();
  GemmAccumulator sum;
  const auto row_of = [&](int r) { return r < num_rows ? view.in + rows[r] / view.rows_per_input * view.in_stride : nullptr; };
  const __nv_bfloat16* weight = view.weight + (static_cast<int64_t>(expert) * view.size_n + n0) * view.pitch;
  gemm_tile(tiles, sum, row_of, weight, view.pitch, view.size_n - n0, view.size_k, view.aligned);
  store_tile(sum, [&](int r, int c, float value) {
    if (r < num_rows && n0 + c < view.size_n) view.out[rows[r] * view.out_stride + n0 + c] = from_float<__nv_bfloat16>(value);
  });
}

void run_experts(Stream& stream, const Tensor& out, const Tensor& in, const PackedWeight& weight, const Tensor& sorted,
                 const Tensor& offsets, int num_rows, int rows_per_input) {
  ExpertView view{};
  view.in = bf16(in), view.weight = bf16(weight.data), view.out = bf16(out);
  view.sorted = sorted.as<int32_t>(), view.offsets = offsets.as<int32_t>();
  view.in_stride = in.strides[0], view.out_stride = out.strides[0], view.pitch = packed_pitch(weight.num_cols);
  view.num_experts = static_cast<int>(weight.num_matrices);
  view.size_n = static_cast<int>(weight.num_rows), view.size_k = static_cast<int>(weight.num_cols);
  view.rows_per_input = rows_per_input, view.aligned = is_aligned(in);
  const int max_tiles = num_rows == 0 ? 0 : num_rows / kTileM + std::min(view.num_experts, num_rows);   // sizes live on the device
  launch(stream, expert_kernel, dim3(ceil_div(view.size_n, kTileN), max_tiles), dim3(kGemmThreads), 0, view);
}

__global__ void expert_swiglu_kernel(__nv_bfloat16* out, const __nv_bfloat16* gate_up, int size) {
  const __nv_bfloat16* row = gate_up + static_cast<int64_t>(blockIdx.x) * 2 * size;
  for (int i = threadIdx.x; i < size; i += blockDim.x)
    out[static_cast<int64_t>(blockIdx.x) * size + i] = swiglu(row[gate_row(i, size)], row[up_row(i, size)]);
}

void run_moe_up(Stream& stream, const MoeUpArgs& args) {
  const int num_rows = static_cast<int>(args.expert_ids.num_elements()), top_k = static_cast<int>(args.expert_ids.shape[1]);
  run_experts(stream, args.scratch, args.in, *args.weight, args.sorted_rows, args.expert_offsets, num_rows, top_k);
  launch(stream, expert_swiglu_kernel, dim3(num_rows), dim3(256), 0, bf16(args.out), bf16(args.scratch),
         static_cast<int>(args.weight->num_rows / 2));
}

__global__ void combine_kernel(__nv_bfloat16* out, int64_t out_stride, const __nv_bfloat16* rows, const float* weights, int top_k, int size) {
  const int64_t token = blockIdx.x;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    float sum = 0;
    for (int k = 0; k < top_k; ++k) sum += weights[token * top_k + k] * to_float(rows[(token * top_k + k) * size + i]);
    out[token * out_stride + i] = from_float<__nv_bfloat16>(sum);
  }
}

void run_moe_down_combine(Stream& stream, const MoeDownCombineArgs& args) {
  const int num_rows = static_cast<int>(args.expert_ids.num_elements()), top_k = static_cast<int>(args.expert_ids.shape[1]);
  const Tensor rows = args.in.view({args.in.shape[0] * args.in.shape[1], args.in.shape[2]});
  run_experts(stream, args.scratch, rows, *args.weight, args.sorted_rows, args.expert_offsets, num_rows, 1);
  launch(stream, combine_kernel, dim3(args.out.shape[0]), dim3(256), 0, bf16(args.out), args.out.strides[0], bf16(args.scratch),
         args.expert_weights.as<float>(), top_k, static_cast<int>(args.out.shape[1]));
}

template <class Args>
bool experts_support(const DeviceCaps&, const Args& args) {
  return args.in.dtype == DType::kBF16 && args.scratch.dtype == DType::kBF16 && !args.sorted_rows.is_empty();
}

}  // namespace

const OpImpl<MoeRouteArgs> kMoeRoute[1] = {{"moe_route_sm80", route_supports, run_route}};
const OpImpl<MoeUpArgs> kMoeUp[1] = {{"moe_up_sm80", experts_support<MoeUpArgs>, run_moe_up}};
const OpImpl<MoeDownCombineArgs> kMoeDownCombine[1] = {
    {"moe_down_combine_sm80", experts_support<MoeDownCombineArgs>, run_moe_down_combine}};

}  // namespace gale::cuda
