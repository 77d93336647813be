// RMSNorm, its fusions with the residual stream, and the quantisation of rows. One block a token, the row in registers:
// every element is read and written once, 16 bytes at a time where rows allow it. Limited by memory, at few tokens by
// latency: weights are there before the predecessor has ended, and the product behind a norm begins to fetch its own.
#include <type_traits>

#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kScalarItems = 32;          // elements a thread where rows are odd or unaligned
constexpr int kMaxSize = 8192;

enum class NormKind { kPlain, kAdd, kSandwich };

struct NormView {
  Bf16 *out, *residual;
  const Bf16 *in, *post_weight, *weight;
  Fp8* quantized;
  float* scales;
  int64_t out_stride, residual_stride, in_stride;
  int size;
  float eps;
};

using Pair = __nv_bfloat162;

__device__ Pair pair_of(uint32_t bits) { return *reinterpret_cast<const Pair*>(&bits); }
__device__ uint32_t bits_of(const Pair& pair) { return *reinterpret_cast<const uint32_t*>(&pair); }
__device__ float2 floats_of(const Pair& pair) { return floats_of_bf16(bits_of(pair)); }

// Neighbouring elements as they lie in memory: kWidth of them, of which a single one has a zero beside it. Products and
// sums of pairs round once to bf16, as fp32 arithmetic with a rounding behind it does.
template <int kWidth>
struct Piece;
template <>
struct Piece<8> {
  static constexpr int kPairs = 4;
  uint4 raw;
  __device__ void get(Pair (&x)[kPairs]) const {
    x[0] = pair_of(raw.x), x[1] = pair_of(raw.y), x[2] = pair_of(raw.z), x[3] = pair_of(raw.w);
  }
};
template <>
struct Piece<1> {
  static constexpr int kPairs = 1;
  Bf16 raw;
  __device__ void get(Pair (&x)[kPairs]) const { x[0] = Pair{raw, from_float<Bf16>(0.0f)}; }
};

__device__ void store_pairs(Bf16* to, const Pair (&x)[4]) {
  *reinterpret_cast<uint4*>(to) = {bits_of(x[0]), bits_of(x[1]), bits_of(x[2]), bits_of(x[3])};
}
__device__ void store_pairs(Bf16* to, const Pair (&x)[1]) { *to = x[0].x; }
__device__ void store_quotients(Fp8* to, const float2 (&x)[4]) {
  store_eight(to, {x[0].x, x[0].y, x[1].x, x[1].y, x[2].x, x[2].y, x[3].x, x[3].y});
}
__device__ void store_quotients(Fp8* to, const float2 (&x)[1]) { *to = from_float<Fp8>(x[0].x); }

// Quotients by a row's factor without the cost of a division: the estimate's remainder is exact, so that all but the
// last bit is the division's, and what becomes of it in e4m3 is the same. A power of two keeps the reciprocal of tiny
// and huge factors within fp32.
struct RowDivider {
  float power, scale, reciprocal;
  __device__ explicit RowDivider(float row_scale)
      : power(row_scale < 1e-20f ? 0x1p80f : row_scale > 1e20f ? 0x1p-80f : 1.0f),
        scale(row_scale * power),
        reciprocal(1 / scale) {}
  [[nodiscard]] __device__ bool is_plain() const { return power == 1.0f; }
  [[nodiscard]] __device__ float quotient(float scaled) const {
    const float estimate = scaled * reciprocal;
    return fmaf(fmaf(-estimate, scale, scaled), reciprocal, estimate);
  }
  template <bool kIsPlain>
  [[nodiscard]] __device__ float2 quotients(float2 x) const {
    if constexpr (kIsPlain) return {quotient(x.x), quotient(x.y)};
    return {quotient(x.x * power), quotient(x.y * power)};
  }
};

// Calls f(item, element) for what thread t holds of a row: pieces t, t + num_threads, …
template <int kWidth, int kItems, class F>
__device__ void each_piece(int size, int num_threads, F&& f) {
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int at = (item * num_threads + static_cast<int>(threadIdx.x)) * kWidth;
    if (at < size) f(item, at);
  }
}

// A thread's part of a row, zeros behind the row; all of it is requested at once.
template <int kWidth, int kItems>
struct RawRow {
  Piece<kWidth> piece[kItems];
  __device__ void load(const Bf16* row, int size, int num_threads = kThreads) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int at = (item * num_threads + static_cast<int>(threadIdx.x)) * kWidth;
      piece[item] = at < size ? *reinterpret_cast<const Piece<kWidth>*>(row + at) : Piece<kWidth>{};
    }
  }
};

// The largest of a block's values, none below 0, over up to 1024 threads; `shared` (32 floats) is used once a kernel.
__device__ float block_largest(float x, float* shared) {
  const int lane = threadIdx.x % kWarpSize, num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  x = warp_max(x);
  if (lane == 0) shared[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  return warp_max(lane < num_warps ? shared[lane] : 0.0f);
}

// The sum over kThreads threads, in a fixed order; `shared` is used once a kernel, so that one barrier is enough.
__device__ float block_total(float x, float (&shared)[kWarps]) {
  x = warp_sum(x);
  if (threadIdx.x % kWarpSize == 0) shared[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += shared[warp];
  return total;
}

template <int kItems, int kPairs>
__device__ float largest_of(const Pair (&value)[kItems][kPairs]) {
  Pair largest = pair_of(0);
#pragma unroll
  for (int item = 0; item < kItems; ++item)
#pragma unroll
    for (int j = 0; j < kPairs; ++j) largest = __hmax2(largest, __habs2(value[item][j]));
  const float2 two = floats_of(largest);
  return fmaxf(two.x, two.y);
}

template <bool kIsPlain, int kPairs>
__device__ void store_quantized(Fp8* to, const Pair (&value)[kPairs], const RowDivider& divide) {
  float2 x[kPairs];
#pragma unroll
  for (int j = 0; j < kPairs; ++j) x[j] = divide.quotients<kIsPlain>(floats_of(value[j]));
  store_quotients(to, x);
}

// A thread's pieces of a row in e4m3, and the row's factor. `shared` (32 floats) is used once a kernel.
template <int kWidth, int kItems>
__device__ void quantize_row(Fp8* to, float* scale_out, const Pair (&value)[kItems][Piece<kWidth>::kPairs], int size,
                             int num_threads, float* shared) {
  const float scale = quantization_scale(block_largest(largest_of(value), shared));
  const RowDivider divide(scale);
  const auto store = [&](auto is_plain) {
    each_piece<kWidth, kItems>(size, num_threads, [&](int item, int at) {
      store_quantized<decltype(is_plain)::value>(to + at, value[item], divide);
    });
  };
  if (divide.is_plain()) store(std::true_type{}); else store(std::false_type{});
  if (threadIdx.x == 0) *scale_out = scale;
}

// A row that is computed with.
template <int kWidth, int kItems>
struct Row {
  using Raw = RawRow<kWidth, kItems>;
  static constexpr int kPairs = Piece<kWidth>::kPairs;
  Pair value[kItems][kPairs];

  __device__ explicit Row(const Raw& raw) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) raw.piece[item].get(value[item]);
  }
  // f(pair, the pair of another row at its place)
  template <class F>
  __device__ void each_with(const Raw& raw, F&& f) {
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      Pair other[kPairs];
      raw.piece[item].get(other);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) f(value[item][j], other[j]);
    }
  }
  __device__ void add(const Raw& raw) {
    each_with(raw, [](Pair& x, const Pair& y) { x = __hadd2_rn(x, y); });
  }
  // The reference rounds the normalised value to the activation type before it multiplies by the weight.
  __device__ void normalize(const Raw& weight, int size, float eps, float (&shared)[kWarps]) {
    float sum = 0;
#pragma unroll
    for (int item = 0; item < kItems; ++item)
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        const float2 x = floats_of(value[item][j]);
        sum = fmaf(x.x, x.x, sum), sum = fmaf(x.y, x.y, sum);
      }
    const float factor = rsqrtf(block_total(sum, shared) / size + eps);
    each_with(weight, [factor](Pair& pair, const Pair& w) {
      const float2 x = floats_of(pair);
      pair = __hmul2_rn(__floats2bfloat162_rn(x.x * factor, x.y * factor), w);
    });
  }
  __device__ void store(Bf16* row, int size) const {
    each_piece<kWidth, kItems>(size, kThreads, [&](int item, int at) { store_pairs(row + at, value[item]); });
  }
};

// At most 64 registers where rows are of the models' sizes: then a block finds room beside one of a product.
template <int kWidth, int kItems, NormKind kKind>
__global__ void __launch_bounds__(kThreads, kItems <= 2 ? 4 : 1) norm_kernel(NormView view) {
  __shared__ float sums[2][kWarps];
  __shared__ float shared[kWarpSize];
  using Raw = RawRow<kWidth, kItems>;
  release_early();
  Raw weight, post_weight, in, residual;
  weight.load(view.weight, view.size);
  if constexpr (kKind == NormKind::kSandwich) post_weight.load(view.post_weight, view.size);
  wait_for_predecessor();
  const int64_t token = blockIdx.x;
  Bf16* residual_row = view.residual + token * view.residual_stride;
  in.load(view.in + token * view.in_stride, view.size);
  if constexpr (kKind != NormKind::kPlain) residual.load(residual_row, view.size);
  Row<kWidth, kItems> row(in);
  if constexpr (kKind == NormKind::kSandwich) row.normalize(post_weight, view.size, view.eps, sums[0]);
  if constexpr (kKind != NormKind::kPlain) {
    row.add(residual);
    row.store(residual_row, view.size);
  }
  row.normalize(weight, view.size, view.eps, sums[1]);
  if (view.out != nullptr) row.store(view.out + token * view.out_stride, view.size);
  if (view.quantized == nullptr) return;
  quantize_row<kWidth, kItems>(view.quantized + token * view.size, view.scales + token, row.value, view.size, kThreads,
                               shared);
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
  if (!out.is_empty()) view.out = bf16(out), view.out_stride = out.strides[0];
  view.in = bf16(in), view.weight = bf16(weight), view.in_stride = in.strides[0];
  view.size = static_cast<int>(in.shape[1]), view.eps = eps;
  if (!quantized.is_empty()) {
    CHECK(quantized.is_contiguous(), "quantized output is {}", quantized.describe());
    view.quantized = static_cast<__nv_fp8_e4m3*>(quantized.data), view.scales = quantized.scales;
  }
  return view;
}

bool is_vectorizable(const Tensor& out, const Tensor& in, const Tensor& weight) {
  return in.shape[1] % 8 == 0 && (out.is_empty() || is_aligned(out)) && is_aligned(in) &&
         reinterpret_cast<uintptr_t>(weight.data) % 16 == 0;
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
  const bool aligned = is_vectorizable(args.out, args.in, args.weight) && is_aligned(args.residual) &&
                       is_vectorizable(args.out, args.in, args.post_weight);
  launch_norm<NormKind::kSandwich>(stream, view, static_cast<int>(args.in.shape[0]), aligned);
}

template <class Args>
bool norm_supports(const DeviceCaps&, const Args& args) { return args.in.shape[1] <= kMaxSize; }

// --- quantisation ---------------------------------------------------------------------------------------

struct QuantizeView {
  Fp8* out;
  float* scales;
  const Bf16* in;
  int64_t in_stride;
  int size;
};

// kItems pieces of eight a thread stay in registers.
template <int kItems, int kMaxThreads>
__global__ void __launch_bounds__(kMaxThreads, kItems > 4 ? 3 : 1024 / kMaxThreads) quantize_kernel(QuantizeView view) {
  __shared__ float shared[kWarpSize];
  release_early();
  wait_for_predecessor();
  const int num_threads = static_cast<int>(blockDim.x);
  RawRow<8, kItems> raw;
  raw.load(view.in + blockIdx.x * view.in_stride, view.size, num_threads);
  Pair value[kItems][4];
#pragma unroll
  for (int item = 0; item < kItems; ++item) raw.piece[item].get(value[item]);
  quantize_row<8, kItems>(view.out + static_cast<int64_t>(blockIdx.x) * view.size, view.scales + blockIdx.x, value,
                          view.size, num_threads, shared);
}

// Rows of any size, read twice.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) quantize_any_kernel(QuantizeView view) {
  __shared__ float shared[kWarpSize];
  release_early();
  wait_for_predecessor();
  const Bf16* row = view.in + blockIdx.x * view.in_stride;
  const auto each = [&](auto&& f) {
    for (int at = threadIdx.x * kWidth; at < view.size; at += kThreads * kWidth) {
      Pair value[1][Piece<kWidth>::kPairs];
      reinterpret_cast<const Piece<kWidth>*>(row + at)->get(value[0]);
      f(value, at);
    }
  };
  float largest = 0;
  each([&](const auto& value, int) { largest = fmaxf(largest, largest_of(value)); });
  const float scale = quantization_scale(block_largest(largest, shared));
  const RowDivider divide(scale);
  Fp8* to = view.out + static_cast<int64_t>(blockIdx.x) * view.size;
  each([&](const auto& value, int at) { store_quantized<false>(to + at, value[0], divide); });
  if (threadIdx.x == 0) view.scales[blockIdx.x] = scale;
}

constexpr int kFewRows = 256;        // big blocks, as long as each has a multiprocessor nearly to itself
constexpr int kBigBlock = 1024;

}  // namespace

void quantize(Stream& stream, const Tensor& out, const Tensor& in) {
  CHECK(out.is_contiguous(), "quantised rows are {}", out.describe());
  const int64_t size = in.shape[in.shape.rank() - 1], num_rows = in.num_elements() / size;
  const QuantizeView view{static_cast<Fp8*>(out.data), out.scales, bf16(in), in.strides[in.shape.rank() - 2],
                          static_cast<int>(size)};
  const auto run = [&](auto kernel, int num_threads) {
    launch_pdl(stream, kernel, dim3(num_rows), dim3(num_threads), 0, view);
  };
  if (!is_aligned(in) || size % 8 != 0) return run(quantize_any_kernel<1>, kThreads);
  const auto threads_of = [size](int num_pieces) { return ceil_div(size / 8, num_pieces * kWarpSize) * kWarpSize; };
  if (threads_of(2) <= kThreads) return run(quantize_kernel<2, kThreads>, threads_of(2));
  if (num_rows <= kFewRows && threads_of(2) <= kBigBlock) return run(quantize_kernel<2, kBigBlock>, threads_of(2));
  if (threads_of(4) <= kThreads) return run(quantize_kernel<4, kThreads>, threads_of(4));
  if (threads_of(7) <= kThreads) return run(quantize_kernel<7, kThreads>, threads_of(7));
  run(quantize_any_kernel<8>, kThreads);
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
