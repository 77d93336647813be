// Weights at load: into the order of packing.cuh, to bf16 or to e4m3 with a factor a row. One block a row; limited by memory.
#include "backends/cuda/packing.cuh"

#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;

// One source matrix and where its rows go; interleaved: part 0 is gate, 1 is up.
struct Piece {
  int64_t row_stride, col_stride, pitch;
  int size_k, first_row, part;
  bool interleaved;
  __device__ int64_t target() const {
    if (!interleaved) return first_row + blockIdx.x;
    return part == 0 ? gate_row(blockIdx.x, gridDim.x) : up_row(blockIdx.x, gridDim.x);
  }
};

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    pack_kernel(To* to, float* scales, const From* from, const float* from_scales, Piece piece) {
  __shared__ float shared[33];
  const From* row = from + blockIdx.x * piece.row_stride;
  const int64_t target = piece.target();
  if constexpr (sizeof(From) == 1) {               // values and scales of the checkpoint: kept, or multiplied
    const float own = from_scales[blockIdx.x];
    if (sizeof(To) == 1 && threadIdx.x == 0) scales[target] = own;
    for (int k = threadIdx.x; k < piece.size_k; k += kThreads) {
      const From x = row[k * piece.col_stride];
      if constexpr (sizeof(To) == 1) to[target * piece.pitch + k] = x;
      else to[target * piece.pitch + k] = from_float<To>(to_float(x) * own);
    }
    return;
  }
  float scale = 1;
  if constexpr (sizeof(To) == 1) {
    float largest = 0;
    for (int k = threadIdx.x; k < piece.size_k; k += kThreads) largest = fmaxf(largest, fabsf(to_float(row[k * piece.col_stride])));
    scale = quantization_scale(block_max(largest, shared));
    if (threadIdx.x == 0) scales[target] = scale;
  }
  for (int k = threadIdx.x; k < piece.size_k; k += kThreads)
    to[target * piece.pitch + k] = from_float<To>(to_float(row[k * piece.col_stride]) / scale);
}

template <class F>
void with_source_type(DType dtype, F&& f) {
  if (dtype == DType::kF8E4M3) return f(TypeTag<__nv_fp8_e4m3>{});
  with_float_type(dtype, f);
}

void pack_piece(Stream& stream, const PackedWeight& out, int64_t matrix, const Tensor& source, const Piece& piece) {
  const int64_t first = matrix * out.num_rows;
  with_source_type(source.dtype, [&](auto f) {
    with_weight_type(out, [&](auto t) {
      using From = typename decltype(f)::type;
      using To = typename decltype(t)::type;
      float* scales = out.is_quantized() ? static_cast<float*>(out.scales.data) + first : nullptr;
      launch(stream, pack_kernel<From, To>, dim3(source.shape[0]), dim3(kThreads), 0,
             static_cast<To*>(out.data.data) + first * piece.pitch, scales, static_cast<const From*>(source.data),
             source.scales, piece);
    });
  });
}

bool is_fp8(WeightFormat format) { return format == WeightFormat::kF8E4M3; }

}  // namespace

size_t packed_bytes(const PackShape& shape) {
  const auto num_rows = static_cast<size_t>(shape.num_matrices * shape.num_rows);
  const auto num_elements = num_rows * static_cast<size_t>(packed_pitch(shape.num_cols));
  if (is_fp8(shape.format)) return Arena::padded(num_elements) + Arena::padded(num_rows * sizeof(float));
  return Arena::padded(num_elements * 2);
}

void pack(Stream& stream, Arena& arena, const PackLinearArgs& args) {
  const size_t per_group = args.sources.size() / args.num_matrices;
  PackedWeight& out = *args.out;
  out.num_matrices = args.num_matrices;
  out.num_cols = args.sources[0].shape[1];
  out.num_rows = 0;
  for (size_t i = 0; i < per_group; ++i) out.num_rows += args.sources[i].shape[0];
  const int64_t pitch = packed_pitch(out.num_cols);
  const DType dtype = is_fp8(args.format) ? DType::kF8E4M3 : DType::kBF16;
  out.data = arena.allocate(dtype, {out.num_matrices, out.num_rows, pitch});   // arenas start zeroed
  out.scales = is_fp8(args.format) ? arena.allocate(DType::kF32, {out.num_matrices * out.num_rows}) : Tensor{};
  for (size_t i = 0; i < args.sources.size(); ++i) {
    const Tensor& source = args.sources[i];
    Piece piece{source.strides[0], source.strides[1], pitch, static_cast<int>(out.num_cols), 0, static_cast<int>(i % per_group),
                args.order == RowOrder::kGateUp};
    for (int p = 0; p < piece.part; ++p) piece.first_row += static_cast<int>(args.sources[i - piece.part + p].shape[0]);
    pack_piece(stream, out, static_cast<int64_t>(i / per_group), source, piece);
  }
}

}  // namespace gale::cuda
