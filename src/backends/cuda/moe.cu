// Products of experts, portable: tensor-core tiles of device/gemm.cuh over the rows of one expert, gathered by index. Limited by the
// bytes of the experts that are touched up to some hundred tokens, by arithmetic beyond. And what all variants share: the sum of a
// token's rows.
#include "backends/cuda/device/gemm.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/moe_few.h"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"

namespace gale::cuda {
namespace {

struct ExpertView {
  const void *in, *weight;
  const float *in_scales, *weight_scales;   // of e4m3 operands, else null
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

template <class T>
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
  const T* in = static_cast<const T*>(view.in);
  const auto row_of = [&](int r) { return r < num_rows ? in + rows[r] / view.rows_per_input * view.in_stride : nullptr; };
  const int64_t first_weight = static_cast<int64_t>(expert) * view.size_n + n0;
  const T* weight = static_cast<const T*>(view.weight) + first_weight * view.pitch;
  gemm_tile(tiles, sum, row_of, weight, view.pitch, view.size_n - n0, view.size_k, view.aligned);
  store_tile(sum, [&](int r, int c, float value) {
    if (r >= num_rows || n0 + c >= view.size_n) return;
    if constexpr (sizeof(T) == 1) value *= view.weight_scales[first_weight + c] * view.in_scales[rows[r] / view.rows_per_input];
    view.out[rows[r] * view.out_stride + n0 + c] = from_float<__nv_bfloat16>(value);
  });
}

void run_experts(Stream& stream, const Tensor& out, const Tensor& in, const PackedWeight& weight, const Tensor& sorted,
                 const Tensor& offsets, int num_rows, int rows_per_input) {
  ExpertView view{};
  view.in = in.data, view.in_scales = in.scales, view.weight = weight.data.data, view.weight_scales = scales_of(weight);
  view.out = bf16(out);
  view.sorted = sorted.as<int32_t>(), view.offsets = offsets.as<int32_t>();
  view.in_stride = in.strides[0], view.out_stride = out.strides[0], view.pitch = packed_pitch(weight.num_cols);
  view.num_experts = static_cast<int>(weight.num_matrices);
  view.size_n = static_cast<int>(weight.num_rows), view.size_k = static_cast<int>(weight.num_cols);
  view.rows_per_input = rows_per_input, view.aligned = is_aligned(in);
  const int max_tiles = num_rows == 0 ? 0 : num_rows / kTileM + std::min(view.num_experts, num_rows);   // sizes live on the device
  with_weight_type(weight, [&](auto t) {
    launch(stream, expert_kernel<typename decltype(t)::type>, dim3(ceil_div(view.size_n, kTileN), max_tiles), dim3(kGemmThreads), 0, view);
  });
}

void run_moe_up(Stream& stream, const MoeUpArgs& args) {
  const int num_rows = static_cast<int>(args.expert_ids.num_elements()), top_k = static_cast<int>(args.expert_ids.shape[1]);
  run_experts(stream, args.scratch, args.in, *args.weight, args.sorted_rows, args.expert_offsets, num_rows, top_k);
  swiglu_rows(stream, args.out, args.scratch);
}

// out[t] = sum over k, in order, of weights[t, k] * rows[t * K + k], kWidth neighbours a thread.
template <int kWidth>
__global__ void __launch_bounds__(256) combine_kernel(__nv_bfloat16* out, int64_t out_stride, const __nv_bfloat16* rows,
                                                      const float* weights, int top_k, int size) {
  struct alignas(2 * kWidth) Pack { __nv_bfloat16 value[kWidth]; };
  wait_for_predecessor();
  release_successor();
  const int64_t token = blockIdx.x;
  const int i = (blockIdx.y * 256 + threadIdx.x) * kWidth;
  if (i >= size) return;
  float sum[kWidth] = {};
  for (int k = 0; k < top_k; ++k) {
    const float weight = weights[token * top_k + k];
    const Pack pack = *reinterpret_cast<const Pack*>(rows + (token * top_k + k) * size + i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += weight * to_float(pack.value[j]);
  }
  Pack pack;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) pack.value[j] = from_float<__nv_bfloat16>(sum[j]);
  *reinterpret_cast<Pack*>(out + token * out_stride + i) = pack;
}

void combine(Stream& stream, const MoeDownCombineArgs& args) {
  const int size = static_cast<int>(args.out.shape[1]), width = size % 8 == 0 && is_aligned(args.out) ? 8 : 1;
  launch_pdl(stream, width == 8 ? combine_kernel<8> : combine_kernel<1>, dim3(args.out.shape[0], ceil_div(size, 256 * width)), dim3(256), 0,
             bf16(args.out), args.out.strides[0], bf16(args.scratch), args.expert_weights.as<float>(),
             static_cast<int>(args.expert_ids.shape[1]), size);
}

struct LayView {
  uint8_t* out;
  const uint8_t* in;
  float* out_scales;          // of e4m3 rows, else null
  const float* in_scales;
  const int32_t* sorted;
  int64_t in_pitch;           // bytes
  int num_rows, row_bytes, rows_per_input;
};

constexpr int kLayWarps = 8;

// A warp a row.
__global__ void __launch_bounds__(kLayWarps* kWarpSize) lay_by_expert_kernel(LayView view) {
  wait_for_predecessor();
  release_successor();
  constexpr int kItems = 4;
  const int p = blockIdx.x * kLayWarps + threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  if (p >= view.num_rows) return;
  const int64_t row = view.sorted[p] / view.rows_per_input;
  const uint8_t* from = view.in + row * view.in_pitch;
  uint8_t* to = view.out + static_cast<int64_t>(p) * view.row_bytes;
  if (lane == 0 && view.in_scales != nullptr) view.out_scales[p] = view.in_scales[row];
  for (int begin = lane * 16; begin < view.row_bytes; begin += kItems * kWarpSize * 16) {
    uint4 value[kItems];
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = begin + item * kWarpSize * 16;
      if (at < view.row_bytes) value[item] = *reinterpret_cast<const uint4*>(from + at);
    }
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = begin + item * kWarpSize * 16;
      if (at < view.row_bytes) *reinterpret_cast<uint4*>(to + at) = value[item];
    }
  }
}

// [T, K, I] as rows.
Tensor rows_of(const Tensor& tensor) { return tensor.view({tensor.shape[0] * tensor.shape[1], tensor.shape[2]}); }

void run_moe_down_combine(Stream& stream, const MoeDownCombineArgs& args) {
  run_experts(stream, args.scratch, rows_of(args.in), *args.weight, args.sorted_rows, args.expert_offsets,
              static_cast<int>(args.expert_ids.num_elements()), 1);
  combine(stream, args);
}

void run_moe_up_stream(Stream& stream, const MoeUpArgs& args) {
  const bool is_rounded = args.out.dtype == DType::kF8E4M3;   // a row's factor needs the whole row: a second kernel
  Tensor inner = rows_of(args.out);
  if (is_rounded) inner = Tensor::contiguous(args.scratch.data, DType::kBF16, inner.shape);
  stream_experts(stream, {.out = inner, .in = args.in, .weight = args.weight, .sorted_rows = args.sorted_rows,
                          .expert_offsets = args.expert_offsets, .rows_per_input = static_cast<int>(args.expert_ids.shape[1]),
                          .num_chosen = static_cast<int>(args.expert_ids.shape[1]), .is_swiglu = true, .are_offsets_settled = false,
                          .by_expert = args.by_expert});
  if (is_rounded) quantize(stream, rows_of(args.out), inner);
}

void run_moe_down_combine_stream(Stream& stream, const MoeDownCombineArgs& args) {
  const Candidate wanted = measured_of_experts(stream, ProductOp::kMoeDown, *args.weight, args.in.shape[0]);
  if (is_for_few(args) && wanted.kernel != ProductKernel::kStream) return down_few(stream, args);
  // The rows of `in` were made after the offsets, by another kernel at least.
  stream_experts(stream, {.out = args.scratch, .in = rows_of(args.in), .weight = args.weight, .sorted_rows = args.sorted_rows,
                          .expert_offsets = args.expert_offsets, .rows_per_input = 1,
                          .num_chosen = static_cast<int>(args.expert_ids.shape[1]), .is_swiglu = false,
                          .are_offsets_settled = true, .by_expert = args.by_expert});
  combine(stream, args);
}

template <class Args>
bool experts_support(const DeviceCaps&, const Args& args) {
  return has_input_type(args.in, *args.weight) && args.scratch.dtype == DType::kBF16 && !args.sorted_rows.is_empty();
}

template <class Args>
bool experts_stream_support(const DeviceCaps& caps, const Args& args) {
  return experts_support(caps, args) && supports_stream_gemm(caps, args.in, *args.weight);
}

}  // namespace

void lay_by_expert(Stream& stream, const ExpertProduct& product) {
  const Tensor &out = product.by_expert, &in = product.in;
  const auto size = static_cast<int64_t>(size_of(in.dtype));
  LayView view{};
  view.out = static_cast<uint8_t*>(out.data), view.in = static_cast<const uint8_t*>(in.data);
  view.out_scales = out.scales, view.in_scales = in.scales;
  view.sorted = product.sorted_rows.as<int32_t>(), view.in_pitch = in.strides[0] * size;
  view.num_rows = static_cast<int>(out.shape[0]), view.row_bytes = static_cast<int>(out.shape[1] * size);
  view.rows_per_input = product.rows_per_input;
  launch_pdl(stream, lay_by_expert_kernel, dim3(ceil_div(view.num_rows, kLayWarps)), dim3(kLayWarps * kWarpSize), 0,
             view);
}

const OpImpl<MoeUpArgs> kMoeUp[2] = {{"moe_up_stream_sm90", experts_stream_support<MoeUpArgs>, run_moe_up_stream},
                                     {"moe_up_sm80", experts_support<MoeUpArgs>, run_moe_up}};
const OpImpl<MoeDownCombineArgs> kMoeDownCombine[2] = {
    {"moe_down_combine_stream_sm90", experts_stream_support<MoeDownCombineArgs>, run_moe_down_combine_stream},
    {"moe_down_combine_sm80", experts_support<MoeDownCombineArgs>, run_moe_down_combine}};

}  // namespace gale::cuda
