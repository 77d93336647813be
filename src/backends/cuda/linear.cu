// Dense products with packed weights. Packed layout: bf16 [matrix][row][K rounded up to kTileK], zeros behind K; gate and up
// rows are interleaved in groups of 8 (gate 0-7, up 0-7, gate 8-15, …), so that a 16-row fragment holds both partners.
// Two variants: rows (T <= 8: a warp streams two weight rows once for all tokens, limited by weight bytes) and tiles (tensor
// cores through device/gemm.cuh, limited by arithmetic at large T).
#include "backends/cuda/device/gemm.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"

namespace gale::cuda {
namespace {

constexpr int kMaxRowsTokens = 8;
constexpr int kRowsWarps = 4;

struct LinearShape {
  int num_tokens, size_n, size_k;
  int64_t in_stride, out_stride, pitch;
};

// out[t, n] for one n a warp and up to kMaxRowsTokens tokens.
template <class Out, class Bias>
__global__ void rows_kernel(Out* out, const __nv_bfloat16* in, const __nv_bfloat16* weight, const Bias* bias, LinearShape shape) {
  const int lane = threadIdx.x % kWarpSize;
  const int n = blockIdx.x * kRowsWarps + threadIdx.x / kWarpSize;
  if (n >= shape.size_n) return;
  const __nv_bfloat16* row = weight + n * shape.pitch;
  float sum[kMaxRowsTokens] = {};
  for (int k = lane * 8; k < shape.pitch; k += kWarpSize * 8) {   // weight rows are zero behind size_k
    const uint4 packed = __ldg(reinterpret_cast<const uint4*>(row + k));
    const auto* w = reinterpret_cast<const __nv_bfloat16*>(&packed);
    for (int j = 0; j < 8 && k + j < shape.size_k; ++j) {
      const float factor = to_float(w[j]);
#pragma unroll
      for (int t = 0; t < kMaxRowsTokens; ++t)
        if (t < shape.num_tokens) sum[t] += factor * to_float(in[t * shape.in_stride + k + j]);
    }
  }
#pragma unroll
  for (int t = 0; t < kMaxRowsTokens; ++t) {
    const float total = warp_sum(sum[t]);
    if (lane == 0 && t < shape.num_tokens)
      out[t * shape.out_stride + n] = from_float<Out>(total + (bias == nullptr ? 0.0f : to_float(bias[n])));
  }
}

template <class Out, class Bias>
__global__ void __launch_bounds__(kGemmThreads)
    tiles_kernel(Out* out, const __nv_bfloat16* in, const __nv_bfloat16* weight, const Bias* bias, LinearShape shape, bool aligned) {
  __shared__ GemmTiles tiles;
  GemmAccumulator sum;
  const int m0 = blockIdx.y * kTileM, n0 = blockIdx.x * kTileN;
  const auto row_of = [&](int r) { return m0 + r < shape.num_tokens ? in + (m0 + r) * shape.in_stride : nullptr; };
  gemm_tile(tiles, sum, row_of, weight + n0 * shape.pitch, shape.pitch, shape.size_n - n0, shape.size_k, aligned);
  store_tile(sum, [&](int r, int c, float value) {
    if (m0 + r >= shape.num_tokens || n0 + c >= shape.size_n) return;
    const float b = bias == nullptr ? 0.0f : to_float(bias[n0 + c]);
    out[(m0 + r) * shape.out_stride + n0 + c] = from_float<Out>(value + b);
  });
}

LinearShape shape_of(const Tensor& out, const Tensor& in, const PackedWeight& weight) {
  return {static_cast<int>(in.shape[0]), static_cast<int>(weight.num_rows), static_cast<int>(weight.num_cols),
          in.strides[0], out.strides[0], packed_pitch(weight.num_cols)};
}

// Calls f with the element types of out and bias (bf16 if there is none).
template <class F>
void with_out_and_bias(const LinearArgs& args, F&& f) {
  with_float_type(args.out.dtype, [&](auto o) {
    with_float_type(args.bias.is_empty() ? DType::kBF16 : args.bias.dtype, [&](auto b) { f(o, b); });
  });
}

void run_rows(Stream& stream, const LinearArgs& args) {
  with_out_and_bias(args, [&](auto o, auto b) {
    using Out = typename decltype(o)::type;
    using Bias = typename decltype(b)::type;
    launch(stream, rows_kernel<Out, Bias>, dim3(ceil_div(args.weight->num_rows, kRowsWarps)), dim3(kRowsWarps * kWarpSize), 0,
           static_cast<Out*>(args.out.data), bf16(args.in), bf16(args.weight->data),
           static_cast<const Bias*>(args.bias.data), shape_of(args.out, args.in, *args.weight));
  });
}

void run_tiles(Stream& stream, const LinearArgs& args) {
  with_out_and_bias(args, [&](auto o, auto b) {
    using Out = typename decltype(o)::type;
    using Bias = typename decltype(b)::type;
    const LinearShape shape = shape_of(args.out, args.in, *args.weight);
    launch(stream, tiles_kernel<Out, Bias>, dim3(ceil_div(shape.size_n, kTileN), ceil_div(shape.num_tokens, kTileM)),
           dim3(kGemmThreads), 0, static_cast<Out*>(args.out.data), bf16(args.in), bf16(args.weight->data),
           static_cast<const Bias*>(args.bias.data), shape, is_aligned(args.in));
  });
}

bool rows_supports(const DeviceCaps&, const LinearArgs& args) {
  return args.in.dtype == DType::kBF16 && args.in.shape[0] <= kMaxRowsTokens;
}
bool tiles_supports(const DeviceCaps&, const LinearArgs& args) { return args.in.dtype == DType::kBF16; }

// --- gate, up, SwiGLU -------------------------------------------------------------------------------------------------------

__global__ void swiglu_kernel(__nv_bfloat16* out, int64_t out_stride, const __nv_bfloat16* gate_up, int64_t in_stride, int size) {
  const __nv_bfloat16* row = gate_up + blockIdx.x * in_stride;
  for (int i = threadIdx.x; i < size; i += blockDim.x)
    out[blockIdx.x * out_stride + i] = swiglu(row[gate_row(i, size)], row[up_row(i, size)]);
}

void run_linear_swiglu(Stream& stream, const LinearSwigluArgs& args) {
  const LinearArgs product{.out = args.scratch, .in = args.in, .weight = args.weight, .bias = {}};
  (args.in.shape[0] <= kMaxRowsTokens ? run_rows : run_tiles)(stream, product);
  launch(stream, swiglu_kernel, dim3(args.in.shape[0]), dim3(256), 0, bf16(args.out), args.out.strides[0],
         bf16(args.scratch), args.scratch.strides[0], static_cast<int>(args.weight->num_rows / 2));
}

bool linear_swiglu_supports(const DeviceCaps&, const LinearSwigluArgs& args) {
  return args.in.dtype == DType::kBF16 && args.scratch.dtype == DType::kBF16;
}

// --- one matrix a head --------------------------------------------------------------------------------------------------------

struct HeadShape { int64_t in_head, out_head; };

__global__ void __launch_bounds__(kGemmThreads)
    head_kernel(__nv_bfloat16* out, const __nv_bfloat16* in, const __nv_bfloat16* weight, LinearShape shape, HeadShape head, bool aligned) {
  __shared__ GemmTiles tiles;
  GemmAccumulator sum;
  const int m0 = blockIdx.y * kTileM, n0 = blockIdx.x * kTileN;
  const __nv_bfloat16* x = in + blockIdx.z * head.in_head;
  const __nv_bfloat16* w = weight + (static_cast<int64_t>(blockIdx.z) * shape.size_n + n0) * shape.pitch;
  const auto row_of = [&](int r) { return m0 + r < shape.num_tokens ? x + (m0 + r) * shape.in_stride : nullptr; };
  gemm_tile(tiles, sum, row_of, w, shape.pitch, shape.size_n - n0, shape.size_k, aligned);
  store_tile(sum, [&](int r, int c, float value) {
    if (m0 + r >= shape.num_tokens || n0 + c >= shape.size_n) return;
    out[(m0 + r) * shape.out_stride + blockIdx.z * head.out_head + n0 + c] = from_float<__nv_bfloat16>(value);
  });
}

void run_head_linear(Stream& stream, const HeadLinearArgs& args) {
  const LinearShape shape = shape_of(args.out, args.in, *args.weight);
  const bool aligned = is_aligned(args.in) && args.in.strides[1] % 8 == 0;
  launch(stream, head_kernel, dim3(ceil_div(shape.size_n, kTileN), ceil_div(shape.num_tokens, kTileM), args.weight->num_matrices),
         dim3(kGemmThreads), 0, bf16(args.out), bf16(args.in), bf16(args.weight->data), shape,
         HeadShape{args.in.strides[1], args.out.strides[1]}, aligned);
}

bool head_linear_supports(const DeviceCaps&, const HeadLinearArgs& args) { return args.in.dtype == DType::kBF16; }

// --- packing ----------------------------------------------------------------------------------------------------------------------

// One source matrix, a block a row, into its rows of the packed weight; interleaved: part 0 is gate, 1 is up.
template <class T>
__global__ void pack_kernel(__nv_bfloat16* to, int64_t pitch, const T* from, int64_t row_stride, int64_t col_stride, int size_k,
                            int first_row, int part, bool interleaved) {
  const int64_t row = blockIdx.x;
  const int64_t target = interleaved ? (part == 0 ? gate_row(row, gridDim.x) : up_row(row, gridDim.x)) : first_row + row;
  for (int k = threadIdx.x; k < size_k; k += blockDim.x)
    to[target * pitch + k] = from_float<__nv_bfloat16>(to_float(from[row * row_stride + k * col_stride]));
}

}  // namespace

size_t packed_bytes(const PackShape& shape) {
  return Arena::padded(static_cast<size_t>(shape.num_matrices * shape.num_rows * packed_pitch(shape.num_cols)) * 2);
}

void pack(Stream& stream, Arena& arena, const PackLinearArgs& args) {
  const size_t per_group = args.sources.size() / args.num_matrices;
  PackedWeight& out = *args.out;
  out.num_matrices = args.num_matrices;
  out.num_cols = args.sources[0].shape[1];
  out.num_rows = 0;
  for (size_t i = 0; i < per_group; ++i) out.num_rows += args.sources[i].shape[0];
  const int64_t pitch = packed_pitch(out.num_cols);
  out.data = arena.allocate(DType::kBF16, {out.num_matrices, out.num_rows, pitch});   // arenas start zeroed
  const bool interleaved = args.order == RowOrder::kGateUp;
  for (size_t i = 0; i < args.sources.size(); ++i) {
    const Tensor& source = args.sources[i];
    const size_t part = i % per_group;
    int64_t first_row = 0;
    for (size_t p = 0; p < part; ++p) first_row += args.sources[i - part + p].shape[0];
    with_float_type(source.dtype, [&](auto t) {
      using T = typename decltype(t)::type;
      launch(stream, pack_kernel<T>, dim3(source.shape[0]), dim3(256), 0,
             bf16(out.data) + static_cast<int64_t>(i / per_group) * out.num_rows * pitch, pitch, static_cast<const T*>(source.data),
             source.strides[0], source.strides[1], static_cast<int>(out.num_cols), static_cast<int>(first_row),
             static_cast<int>(part), interleaved);
    });
  }
}

const OpImpl<LinearArgs> kLinear[2] = {{"linear_rows_sm80", rows_supports, run_rows},
                                       {"linear_tiles_sm80", tiles_supports, run_tiles}};
const OpImpl<LinearSwigluArgs> kLinearSwiglu[1] = {{"linear_swiglu_sm80", linear_swiglu_supports, run_linear_swiglu}};
const OpImpl<HeadLinearArgs> kHeadLinear[1] = {{"head_linear_sm80", head_linear_supports, run_head_linear}};

}  // namespace gale::cuda
