// Dense products with packed weights, portable. Packed layout: bf16 or e4m3 [matrix][row][K rounded up to kTileK], zeros behind
// K; gate and up rows are interleaved in groups of 8 (gate 0-7, up 0-7, gate 8-15, …), so that a 16-row fragment holds both
// partners. Two variants: rows (T <= 8: a warp streams two weight rows once for all tokens, limited by weight bytes) and tiles (tensor
// cores through device/gemm.cuh, limited by arithmetic at large T).
#include "backends/cuda/device/gemm.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/stream_gemm.h"

namespace gale::cuda {
namespace {

constexpr int kMaxRowsTokens = 8;
constexpr int kRowsWarps = 4;

struct LinearShape {
  int num_tokens, size_n, size_k;
  int64_t in_stride, out_stride, pitch;
};

// What follows the sum over k: factors of e4m3 operands (null: none), then the bias (null: none).
struct Finish {
  const float *weight_scales, *in_scales;
  const __nv_bfloat16* bias;
  __device__ float operator()(float sum, int t, int n) const {
    if (weight_scales != nullptr) sum *= weight_scales[n] * in_scales[t];
    return bias == nullptr ? sum : sum + to_float(bias[n]);
  }
};

// out[t, n] for one n a warp and up to kMaxRowsTokens tokens.
template <class Out, class T>
__global__ void rows_kernel(Out* out, const T* in, const T* weight, Finish finish, LinearShape shape) {
  const int lane = threadIdx.x % kWarpSize;
  const int n = blockIdx.x * kRowsWarps + threadIdx.x / kWarpSize;
  if (n >= shape.size_n) return;
  const T* row = weight + n * shape.pitch;
  float sum[kMaxRowsTokens] = {};
  for (int k = lane * 8; k < shape.pitch; k += kWarpSize * 8) {   // weight rows are zero behind size_k
    struct alignas(sizeof(T) * 8) Eight { T value[8]; };
    const Eight w = *reinterpret_cast<const Eight*>(row + k);
    for (int j = 0; j < 8 && k + j < shape.size_k; ++j) {
      const float factor = to_float(w.value[j]);
#pragma unroll
      for (int t = 0; t < kMaxRowsTokens; ++t)
        if (t < shape.num_tokens) sum[t] += factor * to_float(in[t * shape.in_stride + k + j]);
    }
  }
#pragma unroll
  for (int t = 0; t < kMaxRowsTokens; ++t) {
    const float total = warp_sum(sum[t]);
    if (lane == 0 && t < shape.num_tokens) out[t * shape.out_stride + n] = from_float<Out>(finish(total, t, n));
  }
}

template <class Out, class T>
__global__ void __launch_bounds__(kGemmThreads)
    tiles_kernel(Out* out, const T* in, const T* weight, Finish finish, LinearShape shape, bool aligned) {
  __shared__ GemmTiles tiles;
  GemmAccumulator sum;
  const int m0 = blockIdx.y * kTileM, n0 = blockIdx.x * kTileN;
  const auto row_of = [&](int r) { return m0 + r < shape.num_tokens ? in + (m0 + r) * shape.in_stride : nullptr; };
  gemm_tile(tiles, sum, row_of, weight + n0 * shape.pitch, shape.pitch, shape.size_n - n0, shape.size_k, aligned);
  store_tile(sum, [&](int r, int c, float value) {
    if (m0 + r >= shape.num_tokens || n0 + c >= shape.size_n) return;
    out[(m0 + r) * shape.out_stride + n0 + c] = from_float<Out>(finish(value, m0 + r, n0 + c));
  });
}

LinearShape shape_of(const Tensor& out, const Tensor& in, const PackedWeight& weight) {
  return {static_cast<int>(in.shape[0]), static_cast<int>(weight.num_rows), static_cast<int>(weight.num_cols),
          in.strides[0], out.strides[0], packed_pitch(weight.num_cols)};
}

Finish finish_of(const LinearArgs& args) {
  return {scales_of(*args.weight), args.in.scales, args.bias.is_empty() ? nullptr : bf16(args.bias)};
}

// Calls f with the element types of out (bf16 or f32) and of the operands.
template <class F>
void with_out_and_weight(const LinearArgs& args, F&& f) {
  with_weight_type(*args.weight, [&](auto w) {
    if (args.out.dtype == DType::kF32) return f(TypeTag<float>{}, w);
    f(TypeTag<__nv_bfloat16>{}, w);
  });
}

void run_rows(Stream& stream, const LinearArgs& args) {
  with_out_and_weight(args, [&](auto o, auto w) {
    using Out = typename decltype(o)::type;
    using T = typename decltype(w)::type;
    launch(stream, rows_kernel<Out, T>, dim3(ceil_div(args.weight->num_rows, kRowsWarps)), dim3(kRowsWarps * kWarpSize), 0,
           static_cast<Out*>(args.out.data), static_cast<const T*>(args.in.data), static_cast<const T*>(args.weight->data.data),
           finish_of(args), shape_of(args.out, args.in, *args.weight));
  });
}

void run_tiles(Stream& stream, const LinearArgs& args) {
  with_out_and_weight(args, [&](auto o, auto w) {
    using Out = typename decltype(o)::type;
    using T = typename decltype(w)::type;
    const LinearShape shape = shape_of(args.out, args.in, *args.weight);
    launch(stream, tiles_kernel<Out, T>, dim3(ceil_div(shape.size_n, kTileN), ceil_div(shape.num_tokens, kTileM)),
           dim3(kGemmThreads), 0, static_cast<Out*>(args.out.data), static_cast<const T*>(args.in.data),
           static_cast<const T*>(args.weight->data.data), finish_of(args), shape, is_aligned(args.in));
  });
}

bool tiles_supports(const DeviceCaps&, const LinearArgs& args) {
  return has_input_type(args.in, *args.weight) && (args.out.dtype == DType::kBF16 || args.out.dtype == DType::kF32);
}
bool rows_supports(const DeviceCaps& caps, const LinearArgs& args) {
  return tiles_supports(caps, args) && args.in.shape[0] <= kMaxRowsTokens;
}

bool stream_supports(const DeviceCaps& caps, const LinearArgs& args) {
  return tiles_supports(caps, args) && supports_stream_gemm(caps, args.in, *args.weight);
}
void run_stream(Stream& stream, const LinearArgs& args) {
  stream_dense(stream, {.out = args.out, .in = args.in, .weight = args.weight, .bias = args.bias});
}

// --- gate, up, SwiGLU -------------------------------------------------------------------------------------------------------

void run_linear_swiglu(Stream& stream, const LinearSwigluArgs& args) {
  const LinearArgs product{.out = args.scratch, .in = args.in, .weight = args.weight, .bias = {}};
  (args.in.shape[0] <= kMaxRowsTokens ? run_rows : run_tiles)(stream, product);
  swiglu_rows(stream, args.out, args.scratch);
}

bool linear_swiglu_supports(const DeviceCaps&, const LinearSwigluArgs& args) {
  return has_input_type(args.in, *args.weight) && args.scratch.dtype == DType::kBF16;
}

bool swiglu_stream_supports(const DeviceCaps& caps, const LinearSwigluArgs& args) {
  return linear_swiglu_supports(caps, args) && supports_stream_gemm(caps, args.in, *args.weight);
}
void run_swiglu_stream(Stream& stream, const LinearSwigluArgs& args) {
  const bool is_rounded = args.out.dtype == DType::kF8E4M3;   // a row's factor needs the whole row: a second kernel
  const Tensor inner = is_rounded ? Tensor::contiguous(args.scratch.data, DType::kBF16, args.out.shape) : args.out;
  stream_dense(stream, {.out = inner, .in = args.in, .weight = args.weight, .is_swiglu = true});
  if (is_rounded) quantize(stream, args.out, inner);
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

bool head_linear_supports(const DeviceCaps&, const HeadLinearArgs& args) {
  return args.in.dtype == DType::kBF16 && !args.weight->is_quantized();
}

bool head_stream_supports(const DeviceCaps& caps, const HeadLinearArgs& args) {
  return supports_stream_heads(caps, args.in, *args.weight);
}
void run_head_stream(Stream& stream, const HeadLinearArgs& args) {
  stream_dense(stream, {.out = args.out, .in = args.in, .weight = args.weight});
}

}  // namespace

const OpImpl<LinearArgs> kLinear[3] = {{"linear_stream_sm90", stream_supports, run_stream},
                                       {"linear_rows_sm80", rows_supports, run_rows},
                                       {"linear_tiles_sm80", tiles_supports, run_tiles}};
const OpImpl<LinearSwigluArgs> kLinearSwiglu[2] = {{"linear_swiglu_stream_sm90", swiglu_stream_supports, run_swiglu_stream},
                                                   {"linear_swiglu_sm80", linear_swiglu_supports, run_linear_swiglu}};
const OpImpl<HeadLinearArgs> kHeadLinear[2] = {{"head_linear_stream_sm90", head_stream_supports, run_head_stream},
                                               {"head_linear_sm80", head_linear_supports, run_head_linear}};

}  // namespace gale::cuda
