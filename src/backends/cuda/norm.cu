// RMSNorm and its fusions with the residual stream. One block a token; each row is read twice (the second time from L1/L2).
// Limited by memory: 2 to 4 rows of H elements read, 1 or 2 written, per token.
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 256;

struct Row { void* data; int64_t stride; };
Row row_of(const Tensor& tensor) { return {tensor.data, tensor.strides[0]}; }

// rsqrt(mean(x^2) + eps) of `size` values that f(i) gives.
template <class F>
__device__ float inverse_rms(int size, float eps, float* shared, F&& f) {
  float sum = 0;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    const float x = f(i);
    sum += x * x;
  }
  return rsqrtf(block_sum(sum, shared) / size + eps);
}

// The reference rounds the normalised value to the activation type before it multiplies by the weight.
template <class T, class W>
__device__ T scaled(float x, float factor, W weight) {
  return from_float<T>(to_float(from_float<T>(x * factor)) * to_float(weight));
}

template <class T, class W>
__global__ void rms_norm_kernel(Row out, Row in, const W* weight, int size, float eps) {
  __shared__ float shared[33];
  const T* x = static_cast<const T*>(in.data) + blockIdx.x * in.stride;
  T* y = static_cast<T*>(out.data) + blockIdx.x * out.stride;
  const float factor = inverse_rms(size, eps, shared, [&](int i) { return to_float(x[i]); });
  for (int i = threadIdx.x; i < size; i += blockDim.x) y[i] = scaled<T>(to_float(x[i]), factor, weight[i]);
}

template <class T, class W>
__global__ void add_rms_norm_kernel(Row out, Row residual, Row in, const W* weight, int size, float eps) {
  __shared__ float shared[33];
  const T* x = static_cast<const T*>(in.data) + blockIdx.x * in.stride;
  T* r = static_cast<T*>(residual.data) + blockIdx.x * residual.stride;
  T* y = static_cast<T*>(out.data) + blockIdx.x * out.stride;
  const float factor = inverse_rms(size, eps, shared, [&](int i) {
    r[i] = from_float<T>(to_float(r[i]) + to_float(x[i]));
    return to_float(r[i]);
  });
  for (int i = threadIdx.x; i < size; i += blockDim.x) y[i] = scaled<T>(to_float(r[i]), factor, weight[i]);
}

template <class T, class W>
__global__ void norm_add_rms_norm_kernel(Row out, Row residual, Row in, const W* post_weight, const W* weight, int size,
                                         float eps) {
  __shared__ float shared[33];
  const T* x = static_cast<const T*>(in.data) + blockIdx.x * in.stride;
  T* r = static_cast<T*>(residual.data) + blockIdx.x * residual.stride;
  T* y = static_cast<T*>(out.data) + blockIdx.x * out.stride;
  const float post = inverse_rms(size, eps, shared, [&](int i) { return to_float(x[i]); });
  const float factor = inverse_rms(size, eps, shared, [&](int i) {
    r[i] = from_float<T>(to_float(r[i]) + to_float(scaled<T>(to_float(x[i]), post, post_weight[i])));
    return to_float(r[i]);
  });
  for (int i = threadIdx.x; i < size; i += blockDim.x) y[i] = scaled<T>(to_float(r[i]), factor, weight[i]);
}

// Calls f with the types of activation and weight.
template <class F>
void with_types(DType activation, DType weight, F&& f) {
  with_float_type(activation, [&](auto t) { with_float_type(weight, [&](auto w) { f(t, w); }); });
}

void run_rms_norm(Stream& stream, const RmsNormArgs& args) {
  with_types(args.in.dtype, args.weight.dtype, [&](auto t, auto w) {
    using T = typename decltype(t)::type;
    using W = typename decltype(w)::type;
    launch(stream, rms_norm_kernel<T, W>, dim3(args.in.shape[0]), dim3(kThreads), 0, row_of(args.out), row_of(args.in),
           static_cast<const W*>(args.weight.data), static_cast<int>(args.in.shape[1]), args.eps);
  });
}

void run_add_rms_norm(Stream& stream, const AddRmsNormArgs& args) {
  with_types(args.in.dtype, args.weight.dtype, [&](auto t, auto w) {
    using T = typename decltype(t)::type;
    using W = typename decltype(w)::type;
    launch(stream, add_rms_norm_kernel<T, W>, dim3(args.in.shape[0]), dim3(kThreads), 0, row_of(args.out),
           row_of(args.residual), row_of(args.in), static_cast<const W*>(args.weight.data),
           static_cast<int>(args.in.shape[1]), args.eps);
  });
}

void run_norm_add_rms_norm(Stream& stream, const NormAddRmsNormArgs& args) {
  with_types(args.in.dtype, args.weight.dtype, [&](auto t, auto w) {
    using T = typename decltype(t)::type;
    using W = typename decltype(w)::type;
    launch(stream, norm_add_rms_norm_kernel<T, W>, dim3(args.in.shape[0]), dim3(kThreads), 0, row_of(args.out),
           row_of(args.residual), row_of(args.in), static_cast<const W*>(args.post_weight.data),
           static_cast<const W*>(args.weight.data), static_cast<int>(args.in.shape[1]), args.eps);
  });
}

}  // namespace

const OpImpl<RmsNormArgs> kRmsNorm[1] = {{"rms_norm_sm80", supports_any, run_rms_norm}};
const OpImpl<AddRmsNormArgs> kAddRmsNorm[1] = {{"add_rms_norm_sm80", supports_any, run_add_rms_norm}};
const OpImpl<NormAddRmsNormArgs> kNormAddRmsNorm[1] = {{"norm_add_rms_norm_sm80", supports_any, run_norm_add_rms_norm}};

}  // namespace gale::cuda
