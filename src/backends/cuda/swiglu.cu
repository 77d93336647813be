// SwiGLU over rows of interleaved gate and up values (packing.cuh), to bf16 or e4m3 with a factor a row. One block a row, limited
// by memory: 2I elements read (twice if quantised, then from L1), I written.
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;

template <class Out>
__global__ void __launch_bounds__(kThreads) swiglu_kernel(Out* out, float* scales, int64_t out_stride, const __nv_bfloat16* gate_up,
                                                          int64_t in_stride, int size) {
  __shared__ float shared[33];
  wait_for_predecessor();
  release_successor();
  const __nv_bfloat16* row = gate_up + blockIdx.x * in_stride;
  const auto value = [&](int i) { return swiglu(row[gate_row(i, size)], row[up_row(i, size)]); };
  float scale = 1;
  if constexpr (sizeof(Out) == 1) {
    float largest = 0;
    for (int i = threadIdx.x; i < size; i += kThreads) largest = fmaxf(largest, fabsf(to_float(value(i))));
    scale = quantization_scale(block_max(largest, shared));
    if (threadIdx.x == 0) scales[blockIdx.x] = scale;
  }
  for (int i = threadIdx.x; i < size; i += kThreads)
    out[blockIdx.x * out_stride + i] = from_float<Out>(to_float(value(i)) / scale);
}

}  // namespace

void swiglu_rows(Stream& stream, const Tensor& out, const Tensor& gate_up) {
  const int size = static_cast<int>(gate_up.shape[1] / 2);
  const int64_t num_rows = gate_up.shape[0], out_stride = out.strides[out.shape.rank() - 2];
  const auto run = [&](auto o) {
    using Out = typename decltype(o)::type;
    launch_pdl(stream, swiglu_kernel<Out>, dim3(num_rows), dim3(kThreads), 0, static_cast<Out*>(out.data), out.scales, out_stride,
               bf16(gate_up), gate_up.strides[0], size);
  };
  if (out.dtype == DType::kF8E4M3) return run(TypeTag<__nv_fp8_e4m3>{});
  run(TypeTag<__nv_bfloat16>{});
}

}  // namespace gale::cuda
