// RMSNorm, its fusions with the residual stream, and the quantisation of rows. One block a token, the row in registers: every
// element is read and written once, 16 bytes at a time where rows allow it. Limited by memory, at few tokens by latency.
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kScalarItems = 32;          // elements a thread where rows are odd or unaligned
constexpr int kMaxSize = 8192;
constexpr int kQuantizeThreads = 1024;

enum class NormKind { kPlain, kAdd, kSandwich };

struct NormView {
  __nv_bfloat16 *out, *residual;
  const __nv_bfloat16 *in, *post_weight, *weight;
  __nv_fp8_e4m3* quantized;
  float* scales;
  int64_t out_stride, residual_stride, in_stride;
  int size;
  float eps;
};

template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack { T value[kWidth]; };

// A row in registers: thread t holds elements (item * kThreads + t) * kWidth ….
template <int kWidth, int kItems>
struct RowRegisters {
  float value[kItems][kWidth];

  template <class F>
  __device__ void each(int size, F&& f) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = (item * kThreads + threadIdx.x) * kWidth;
      if (at < size) f(value[item], at);
    }
  }
  __device__ void load(const __nv_bfloat16* row, int size) {
    each(size, [&](float(&x)[kWidth], int at) {
      const auto pack = *reinterpret_cast<const Pack<__nv_bfloat16, kWidth>*>(row + at);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) x[j] = to_float(pack.value[j]);
    });
  }
  template <class T>
  __device__ void store(T* row, int size, float divisor) {
    each(size, [&](float(&x)[kWidth], int at) {
      Pack<T, kWidth> pack;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) pack.value[j] = from_float<T>(x[j] / divisor);
      *reinterpret_cast<Pack<T, kWidth>*>(row + at) = pack;
    });
  }
  // The reference rounds the normalised value to the activation type before it multiplies by the weight.
  __device__ void normalize(const __nv_bfloat16* weight, int size, float eps, float* shared) {
    float sum = 0;
    each(size, [&](float(&x)[kWidth], int) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += x[j] * x[j];
    });
    const float factor = rsqrtf(block_sum(sum, shared) / size + eps);
    each(size, [&](float(&x)[kWidth], int at) {
      const auto pack = *reinterpret_cast<const Pack<__nv_bfloat16, kWidth>*>(weight + at);
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        x[j] = to_float(from_float<__nv_bfloat16>(to_float(from_float<__nv_bfloat16>(x[j] * factor)) * to_float(pack.value[j])));
    });
  }
  __device__ float largest(int size) {
    float largest = 0;
    each(size, [&](float(&x)[kWidth], int) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) largest = fmaxf(largest, fabsf(x[j]));
    });
    return largest;
  }
};

template <int kWidth, int kItems, NormKind kKind>
__global__ void __launch_bounds__(kThreads) norm_kernel(NormView view) {
  __shared__ float shared[33];
  wait_for_predecessor();
  release_successor();
  const int64_t token = blockIdx.x;
  RowRegisters<kWidth, kItems> row;
  row.load(view.in + token * view.in_stride, view.size);
  if constexpr (kKind != NormKind::kPlain) {
    if constexpr (kKind == NormKind::kSandwich) row.normalize(view.post_weight, view.size, view.eps, shared);
    __nv_bfloat16* residual = view.residual + token * view.residual_stride;
    RowRegisters<kWidth, kItems> sum;
    sum.load(residual, view.size);
#pragma unroll
    for (int item = 0; item < kItems; ++item)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        row.value[item][j] = to_float(from_float<__nv_bfloat16>(row.value[item][j] + sum.value[item][j]));
    row.store(residual, view.size, 1.0f);
  }
  row.normalize(view.weight, view.size, view.eps, shared);
  row.store(view.out + token * view.out_stride, view.size, 1.0f);
  if (view.quantized == nullptr) return;
  const float scale = quantization_scale(block_max(row.largest(view.size), shared));
  row.store(view.quantized + token * view.size, view.size, scale);
  if (threadIdx.x == 0) view.scales[token] = scale;
}

template <NormKind kKind>
void launch_norm(Stream& stream, const NormView& view, int num_tokens, bool aligned) {
  const auto run = [&](auto kernel) { launch_pdl(stream, kernel, dim3(num_tokens), dim3(kThreads), 0, view); };
  if (!aligned) return run(norm_kernel<1, kScalarItems, kKind>);
  if (view.size <= kThreads * 8) return run(norm_kernel<8, 1, kKind>);
  if (view.size <= kThreads * 16) return run(norm_kernel<8, 2, kKind>);
  run(norm_kernel<8, 4, kKind>);
}

NormView view_of(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& quantized, float eps) {
  NormView view{};
  view.out = bf16(out), view.in = bf16(in), view.weight = bf16(weight);
  view.out_stride = out.strides[0], view.in_stride = in.strides[0];
  view.size = static_cast<int>(in.shape[1]), view.eps = eps;
  if (!quantized.is_empty()) {
    CHECK(quantized.is_contiguous(), "quantized output is {}", quantized.describe());
    view.quantized = static_cast<__nv_fp8_e4m3*>(quantized.data), view.scales = quantized.scales;
  }
  return view;
}

bool is_vectorizable(const Tensor& out, const Tensor& in, const Tensor& weight) {
  return in.shape[1] % 8 == 0 && is_aligned(out) && is_aligned(in) && reinterpret_cast<uintptr_t>(weight.data) % 16 == 0;
}

void run_rms_norm(Stream& stream, const RmsNormArgs& args) {
  launch_norm<NormKind::kPlain>(stream, view_of(args.out, args.in, args.weight, args.quantized, args.eps),
                                static_cast<int>(args.in.shape[0]), is_vectorizable(args.out, args.in, args.weight));
}

void run_add_rms_norm(Stream& stream, const AddRmsNormArgs& args) {
  NormView view = view_of(args.out, args.in, args.weight, args.quantized, args.eps);
  view.residual = bf16(args.residual), view.residual_stride = args.residual.strides[0];
  launch_norm<NormKind::kAdd>(stream, view, static_cast<int>(args.in.shape[0]),
                              is_vectorizable(args.out, args.in, args.weight) && is_aligned(args.residual));
}

void run_norm_add_rms_norm(Stream& stream, const NormAddRmsNormArgs& args) {
  NormView view = view_of(args.out, args.in, args.weight, args.quantized, args.eps);
  view.residual = bf16(args.residual), view.residual_stride = args.residual.strides[0];
  view.post_weight = bf16(args.post_weight);
  launch_norm<NormKind::kSandwich>(
      stream, view, static_cast<int>(args.in.shape[0]),
      is_vectorizable(args.out, args.in, args.weight) && is_aligned(args.residual) && is_vectorizable(args.out, args.in, args.post_weight));
}

template <class Args>
bool norm_supports(const DeviceCaps&, const Args& args) { return args.in.shape[1] <= kMaxSize; }

// --- quantisation -------------------------------------------------------------------------------------------------------------

// Quotients by a row's factor without the cost of a division: the estimate's remainder is exact, so that all but the last
// bit is the division's, and what becomes of it in e4m3 is the same. Rows whose reciprocal would overflow divide.
struct RowDivider {
  float scale, reciprocal;
  bool is_plain;
  __device__ explicit RowDivider(float scale)
      : scale(scale), reciprocal(1 / scale), is_plain(scale > 1e-30f && scale < 1e30f) {}
  __device__ float operator()(float x) const {
    if (!is_plain) return x / scale;
    const float estimate = x * reciprocal;
    return fmaf(fmaf(-estimate, scale, x), reciprocal, estimate);
  }
};

// kItems pieces a thread stay in registers, requested all at once; rows of any size where kItems is 0: read twice.
template <int kWidth, int kItems>
__global__ void __launch_bounds__(kQuantizeThreads) quantize_kernel(__nv_fp8_e4m3* out, float* scales, const __nv_bfloat16* in,
                                                                    int64_t in_stride, int size) {
  __shared__ float shared[33];
  wait_for_predecessor();
  release_successor();
  const __nv_bfloat16* row = in + blockIdx.x * in_stride;
  __nv_fp8_e4m3* to = out + static_cast<int64_t>(blockIdx.x) * size;
  using Piece = Pack<__nv_bfloat16, kWidth>;
  const auto largest_of = [](const Piece& piece) {
    float largest = 0;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) largest = fmaxf(largest, fabsf(to_float(piece.value[j])));
    return largest;
  };
  const auto store = [to](const Piece& piece, int at, const RowDivider& divide) {
    Pack<__nv_fp8_e4m3, kWidth> rounded;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) rounded.value[j] = from_float<__nv_fp8_e4m3>(divide(to_float(piece.value[j])));
    *reinterpret_cast<Pack<__nv_fp8_e4m3, kWidth>*>(to + at) = rounded;
  };
  float largest = 0, scale = 1;
  if constexpr (kItems > 0) {
    Piece pieces[kItems];
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = (item * blockDim.x + threadIdx.x) * kWidth;
      pieces[item] = at < size ? *reinterpret_cast<const Piece*>(row + at) : Piece{};
    }
#pragma unroll
    for (int item = 0; item < kItems; ++item) largest = fmaxf(largest, largest_of(pieces[item]));
    scale = quantization_scale(block_max(largest, shared));
    const RowDivider divide(scale);
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = (item * blockDim.x + threadIdx.x) * kWidth;
      if (at < size) store(pieces[item], at, divide);
    }
  } else {
    const int step = blockDim.x * kWidth;
    for (int at = threadIdx.x * kWidth; at < size; at += step)
      largest = fmaxf(largest, largest_of(*reinterpret_cast<const Piece*>(row + at)));
    scale = quantization_scale(block_max(largest, shared));
    const RowDivider divide(scale);
    for (int at = threadIdx.x * kWidth; at < size; at += step)
      store(*reinterpret_cast<const Piece*>(row + at), at, divide);
  }
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
}

}  // namespace

void quantize(Stream& stream, const Tensor& out, const Tensor& in) {
  CHECK(out.is_contiguous(), "quantised rows are {}", out.describe());
  const int64_t size = in.shape[in.shape.rank() - 1], num_rows = in.num_elements() / size;
  const auto run = [&](auto kernel, int num_threads) {
    launch_pdl(stream, kernel, dim3(num_rows), dim3(num_threads), 0, static_cast<__nv_fp8_e4m3*>(out.data), out.scales, bf16(in),
               in.strides[in.shape.rank() - 2], static_cast<int>(size));
  };
  if (!is_aligned(in) || size % 8 != 0) return run(quantize_kernel<1, 0>, kThreads);
  const int num_threads = ceil_div(size / 8, 2 * kWarpSize) * kWarpSize;   // two pieces each
  if (num_threads <= kQuantizeThreads) return run(quantize_kernel<8, 2>, num_threads);
  run(quantize_kernel<8, 0>, kQuantizeThreads);
}

namespace {
void run_quantize_rows(Stream& stream, const QuantizeRowsArgs& args) { quantize(stream, args.out, args.in); }
}  // namespace

const OpImpl<RmsNormArgs> kRmsNorm[1] = {{"rms_norm_sm80", norm_supports<RmsNormArgs>, run_rms_norm}};
const OpImpl<AddRmsNormArgs> kAddRmsNorm[1] = {{"add_rms_norm_sm80", norm_supports<AddRmsNormArgs>, run_add_rms_norm}};
const OpImpl<NormAddRmsNormArgs> kNormAddRmsNorm[1] = {
    {"norm_add_rms_norm_sm80", norm_supports<NormAddRmsNormArgs>, run_norm_add_rms_norm}};
const OpImpl<QuantizeRowsArgs> kQuantizeRows[1] = {{"quantize_rows_sm80", supports_any, run_quantize_rows}};

}  // namespace gale::cuda
