// What MLA does around its attention: the norms of both latents, rotation of the rope parts, the write into the cache.
// One block a token; limited by memory (one row of Q + L + P elements read, about as much written).
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/rope.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 128;

struct MlaView {
  const void *qkv_a, *q_norm, *kv_norm;
  void *q_latent, *cache;
  int64_t qkv_token, q_token;
  const int64_t* slot_mapping;
  int q_rank, kv_rank, rope_dim;
  float eps;
};

template <class T>
__device__ float row_factor(const T* x, int size, float eps, float* shared) {
  float squares = 0;
  for (int i = threadIdx.x; i < size; i += blockDim.x) squares += to_float(x[i]) * to_float(x[i]);
  return rsqrtf(block_sum(squares, shared) / size + eps);
}

template <class T, class W, class Cache>
__global__ void __launch_bounds__(kThreads) mla_write_kernel(MlaView view, RopeView rope) {
  __shared__ RopeAngles angles;
  __shared__ float shared[33];
  const int token = blockIdx.x;
  compute_angles(angles, rope, token);
  const T* q = static_cast<const T*>(view.qkv_a) + token * view.qkv_token;
  const T* latent = q + view.q_rank;
  const T* key = latent + view.kv_rank;
  const float q_factor = row_factor(q, view.q_rank, view.eps, shared);
  T* q_out = static_cast<T*>(view.q_latent) + token * view.q_token;
  for (int i = threadIdx.x; i < view.q_rank; i += blockDim.x)
    q_out[i] = from_float<T>(to_float(from_float<T>(to_float(q[i]) * q_factor)) * to_float(static_cast<const W*>(view.q_norm)[i]));
  const float kv_factor = row_factor(latent, view.kv_rank, view.eps, shared);
  const int64_t slot = view.slot_mapping[token];
  if (slot < 0) return;   // a padded row; the whole block leaves
  Cache* row = static_cast<Cache*>(view.cache) + slot * (view.kv_rank + view.rope_dim);
  for (int i = threadIdx.x; i < view.kv_rank; i += blockDim.x)
    row[i] = from_float<Cache>(to_float(from_float<T>(to_float(latent[i]) * kv_factor)) *
                               to_float(static_cast<const W*>(view.kv_norm)[i]));
  const auto at = [&](int i) { return to_float(key[i]); };
  for (int i = threadIdx.x; i < view.rope_dim; i += blockDim.x)
    row[view.kv_rank + i] = from_float<Cache>(rotated(angles, rope, i, at));
}

void run_mla_write(Stream& stream, const MlaWriteArgs& args) {
  MlaView view{};
  view.qkv_a = args.qkv_a.data, view.q_norm = args.q_norm.data, view.kv_norm = args.kv_norm.data;
  view.q_latent = args.q_latent.data, view.cache = args.cache.data;
  view.qkv_token = args.qkv_a.strides[0], view.q_token = args.q_latent.strides[0];
  view.slot_mapping = args.metadata->slot_mapping.as<int64_t>();
  view.q_rank = static_cast<int>(args.q_norm.shape[0]), view.kv_rank = static_cast<int>(args.kv_norm.shape[0]);
  view.rope_dim = args.rope.rotary_dim, view.eps = args.norm_eps;
  const RopeView rope = rope_view(args.rope, args.metadata->positions);
  with_float_type(args.qkv_a.dtype, [&](auto t) {
    with_float_type(args.q_norm.dtype, [&](auto w) {
      with_float_type(args.cache.dtype, [&](auto c) {
        launch(stream, mla_write_kernel<typename decltype(t)::type, typename decltype(w)::type, typename decltype(c)::type>,
               dim3(args.metadata->num_tokens), dim3(kThreads), 0, view, rope);
      });
    });
  });
}

bool mla_write_supports(const DeviceCaps&, const MlaWriteArgs& args) {
  return args.q_norm.dtype == args.kv_norm.dtype && args.cache.shape[2] == args.kv_norm.shape[0] + args.rope.rotary_dim;
}

struct QueryRopeView { const void* in; void* out; int64_t in_token, in_head, out_token, out_head; int num_heads, rope_dim; };

template <class T>
__global__ void __launch_bounds__(kThreads) mla_query_rope_kernel(QueryRopeView view, RopeView rope) {
  __shared__ RopeAngles angles;
  compute_angles(angles, rope, blockIdx.x);
  for (int i = threadIdx.x; i < view.num_heads * rope.num_pairs; i += blockDim.x) {
    const int head = i / rope.num_pairs, j = i % rope.num_pairs;
    const T* in = static_cast<const T*>(view.in) + blockIdx.x * view.in_token + head * view.in_head;
    T* out = static_cast<T*>(view.out) + blockIdx.x * view.out_token + head * view.out_head;
    const int first = rope.interleaved ? 2 * j : j, second = rope.interleaved ? 2 * j + 1 : j + rope.num_pairs;
    const float x = to_float(in[first]), y = to_float(in[second]);   // both read before either is written: out may be in
    out[first] = from_float<T>(x * angles.cosine[j] - y * angles.sine[j]);
    out[second] = from_float<T>(y * angles.cosine[j] + x * angles.sine[j]);
  }
}

void run_mla_query_rope(Stream& stream, const MlaQueryRopeArgs& args) {
  const QueryRopeView view{args.in.data, args.out.data, args.in.strides[0], args.in.strides[1], args.out.strides[0],
                           args.out.strides[1], static_cast<int>(args.in.shape[1]), static_cast<int>(args.in.shape[2])};
  const RopeView rope = rope_view(args.rope, args.metadata->positions);
  with_float_type(args.in.dtype, [&](auto t) {
    launch(stream, mla_query_rope_kernel<typename decltype(t)::type>, dim3(args.metadata->num_tokens), dim3(kThreads), 0, view, rope);
  });
}

}  // namespace

const OpImpl<MlaWriteArgs> kMlaWrite[1] = {{"mla_write_sm80", mla_write_supports, run_mla_write}};
const OpImpl<MlaQueryRopeArgs> kMlaQueryRope[1] = {{"mla_query_rope_sm80", supports_any, run_mla_query_rope}};

}  // namespace gale::cuda
