// What MLA does around its attention: the norms of both latents, rotation of the rope parts, the write into the cache. A block a
// token, a thread eight elements; limited by latency for few tokens, by memory for many (one row of Q + L + P elements read, about
// as much written).
#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/device/rope.cuh"
#include "backends/cuda/mla.h"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kMaxThreads = 1024;

struct WriteView {
  const Bf16 *qkv_a, *q_norm, *kv_norm;
  Bf16* q_latent;
  void* cache;
  int64_t qkv_token, q_token;
  const int64_t* slot_mapping;
  int q_rank, kv_rank, rope_dim;
  float eps;
};

// Two sums over the block at once; every thread gets both.
__device__ float2 block_sums(float a, float b, float2* shared) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, num_warps = blockDim.x / kWarpSize;
  a = warp_sum(a), b = warp_sum(b);
  if (lane == 0) shared[warp] = {a, b};
  __syncthreads();
  float2 total = {0, 0};
  for (int w = 0; w < num_warps; ++w) total.x += shared[w].x, total.y += shared[w].y;
  return total;
}

template <class Cache>
__global__ void __launch_bounds__(kMaxThreads) mla_write_kernel(WriteView view, __grid_constant__ const RopeView rope) {
  __shared__ RopeAngles angles;
  __shared__ float2 sums[kMaxThreads / kWarpSize];
  __shared__ float key[2 * kMaxRotaryPairs];
  const int token = blockIdx.x, at = threadIdx.x * 8, in_latent = at - view.q_rank, in_key = in_latent - view.kv_rank;
  const bool is_q = in_latent < 0, is_latent = !is_q && in_key < 0, is_key = in_key >= 0 && in_key < view.rope_dim;
  compute_angles(angles, rope, token);   // of positions, which no predecessor writes
  const int64_t slot = view.slot_mapping[token];
  wait_for_predecessor();
  release_successor();
  float x[8] = {};
  if (is_q || is_latent || is_key) load_eight(x, view.qkv_a + token * view.qkv_token + at);
  if (is_key) {
#pragma unroll
    for (int i = 0; i < 8; ++i) key[in_key + i] = x[i];
  }
  const float squares = squares_of(x);
  const float2 total = block_sums(is_q ? squares : 0.0f, is_latent ? squares : 0.0f, sums);
  if (is_q) {
    norm_eight(x, rsqrtf(total.x / view.q_rank + view.eps), view.q_norm + at);
    store_eight(view.q_latent + token * view.q_token + at, x);
    return;
  }
  if (slot < 0) return;   // a padded row
  if (is_latent) norm_eight(x, rsqrtf(total.y / view.kv_rank + view.eps), view.kv_norm + in_latent);
  if (is_key) {
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = rotated(angles, rope, in_key + i, [&](int j) { return key[j]; });
  }
  if (is_latent || is_key) store_eight(static_cast<Cache*>(view.cache) + slot * (view.kv_rank + view.rope_dim) + in_latent, x);
}

// Any sizes and alignment: a thread an element.
constexpr int kAnyThreads = 128;

template <class Cache>
__global__ void __launch_bounds__(kAnyThreads) mla_write_any_kernel(WriteView view, __grid_constant__ const RopeView rope) {
  __shared__ RopeAngles angles;
  __shared__ float2 sums[kAnyThreads / kWarpSize];
  const int token = blockIdx.x;
  compute_angles(angles, rope, token);
  const int64_t slot = view.slot_mapping[token];
  wait_for_predecessor();
  release_successor();
  const Bf16* q = view.qkv_a + token * view.qkv_token;
  const Bf16 *latent = q + view.q_rank, *key = latent + view.kv_rank;
  const auto squares = [](const Bf16* x, int size) {
    float sum = 0;
    for (int i = threadIdx.x; i < size; i += kAnyThreads) sum += to_float(x[i]) * to_float(x[i]);
    return sum;
  };
  const float2 total = block_sums(squares(q, view.q_rank), squares(latent, view.kv_rank), sums);
  const auto normed = [](Bf16 x, float factor, Bf16 weight) {
    return from_float<Bf16>(to_float(from_float<Bf16>(to_float(x) * factor)) * to_float(weight));
  };
  const float q_factor = rsqrtf(total.x / view.q_rank + view.eps), latent_factor = rsqrtf(total.y / view.kv_rank + view.eps);
  Bf16* out = view.q_latent + token * view.q_token;
  for (int i = threadIdx.x; i < view.q_rank; i += kAnyThreads) out[i] = normed(q[i], q_factor, view.q_norm[i]);
  if (slot < 0) return;   // a padded row
  Cache* row = static_cast<Cache*>(view.cache) + slot * (view.kv_rank + view.rope_dim);
  for (int i = threadIdx.x; i < view.kv_rank; i += kAnyThreads)
    row[i] = Cache(to_float(normed(latent[i], latent_factor, view.kv_norm[i])));
  for (int i = threadIdx.x; i < view.rope_dim; i += kAnyThreads)
    row[view.kv_rank + i] = Cache(rotated(angles, rope, i, [&](int j) { return to_float(key[j]); }));
}

int write_threads(const MlaWriteArgs& args) {
  return ceil_div(args.qkv_a.shape[1], 8 * kWarpSize) * kWarpSize;
}

WriteView write_view(const MlaWriteArgs& args) {
  WriteView view{};
  view.qkv_a = static_cast<const Bf16*>(args.qkv_a.data);
  view.q_norm = static_cast<const Bf16*>(args.q_norm.data), view.kv_norm = static_cast<const Bf16*>(args.kv_norm.data);
  view.q_latent = static_cast<Bf16*>(args.q_latent.data), view.cache = args.cache.data;
  view.qkv_token = args.qkv_a.strides[0], view.q_token = args.q_latent.strides[0];
  view.slot_mapping = args.metadata->slot_mapping.as<int64_t>();
  view.q_rank = static_cast<int>(args.q_norm.shape[0]), view.kv_rank = static_cast<int>(args.kv_norm.shape[0]);
  view.rope_dim = args.rope.rotary_dim, view.eps = args.norm_eps;
  return view;
}

template <class Kernel>
void launch_write(Stream& stream, const MlaWriteArgs& args, Kernel kernel, int num_threads) {
  launch_pdl(stream, kernel, dim3(args.metadata->num_tokens), dim3(num_threads), 0, write_view(args),
             rope_view(args.rope, args.metadata->positions));
}

void run_mla_write(Stream& stream, const MlaWriteArgs& args) {
  const bool is_bf16 = args.cache.dtype == DType::kBF16;
  launch_write(stream, args, is_bf16 ? mla_write_kernel<Bf16> : mla_write_kernel<Fp8>, write_threads(args));
}

void run_mla_write_any(Stream& stream, const MlaWriteArgs& args) {
  const bool is_bf16 = args.cache.dtype == DType::kBF16;
  launch_write(stream, args, is_bf16 ? mla_write_any_kernel<Bf16> : mla_write_any_kernel<Fp8>, kAnyThreads);
}

bool mla_write_any_supports(const DeviceCaps&, const MlaWriteArgs& args) { return is_cache_type(args.cache.dtype); }

bool is_aligned(const Tensor& rows) { return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.strides[0] % 8 == 0; }

bool mla_write_supports(const DeviceCaps&, const MlaWriteArgs& args) {
  const int64_t q_rank = args.q_norm.shape[0], kv_rank = args.kv_norm.shape[0];
  return is_cache_type(args.cache.dtype) && q_rank % 8 == 0 && kv_rank % 8 == 0 && args.rope.rotary_dim % 8 == 0 &&
         is_aligned(args.qkv_a) && is_aligned(args.q_latent) && write_threads(args) <= kMaxThreads;
}

struct QueryRopeView { const Bf16* in; Bf16* out; int64_t in_token, in_head, out_token, out_head; int num_heads; };

// All lanes take part in the exchange; a head lies over rotary_dim / 8 lanes, which divide a warp.
__global__ void __launch_bounds__(kMaxThreads) mla_query_rope_kernel(QueryRopeView view, __grid_constant__ const RopeView rope) {
  __shared__ RopeAngles angles;
  const int lanes = rope.num_pairs / 4, head = threadIdx.x / lanes, part = threadIdx.x % lanes * 8;
  release_early();
  compute_angles(angles, rope, blockIdx.x);   // of positions, which no predecessor writes
  const EightRotation rotation(angles, rope, part);
  wait_for_predecessor();
  for (int h = head; h - head < view.num_heads; h += blockDim.x / lanes) {
    const bool inside = h < view.num_heads;
    float x[8] = {};
    if (inside) load_eight(x, view.in + blockIdx.x * view.in_token + h * view.in_head + part);
    rotation.apply(x);
    if (inside) store_eight(view.out + blockIdx.x * view.out_token + h * view.out_head + part, x);
  }
}

// Any rope size and alignment: a thread a pair.
__global__ void __launch_bounds__(128) mla_query_rope_any_kernel(QueryRopeView view, __grid_constant__ const RopeView rope) {
  __shared__ RopeAngles angles;
  compute_angles(angles, rope, blockIdx.x);
  wait_for_predecessor();
  release_successor();
  for (int i = threadIdx.x; i < view.num_heads * rope.num_pairs; i += blockDim.x) {
    const int head = i / rope.num_pairs, j = i % rope.num_pairs;
    const Bf16* in = view.in + blockIdx.x * view.in_token + head * view.in_head;
    Bf16* out = view.out + blockIdx.x * view.out_token + head * view.out_head;
    const int first = rope.interleaved ? 2 * j : j, second = rope.interleaved ? 2 * j + 1 : j + rope.num_pairs;
    const float x = to_float(in[first]), y = to_float(in[second]);   // both read before either is written: out may be in
    out[first] = from_float<Bf16>(x * angles.cosine[j] - y * angles.sine[j]);
    out[second] = from_float<Bf16>(y * angles.cosine[j] + x * angles.sine[j]);
  }
}

QueryRopeView query_view(const MlaQueryRopeArgs& args) {
  return {static_cast<const Bf16*>(args.in.data), static_cast<Bf16*>(args.out.data), args.in.strides[0], args.in.strides[1],
          args.out.strides[0], args.out.strides[1], static_cast<int>(args.in.shape[1])};
}

void run_mla_query_rope(Stream& stream, const MlaQueryRopeArgs& args) {
  const int lanes = args.rope.rotary_dim / 8, heads = static_cast<int>(args.in.shape[1]);
  const int threads = std::min(256, ceil_div(lanes * heads, kWarpSize) * kWarpSize);
  launch_pdl(stream, mla_query_rope_kernel, dim3(args.metadata->num_tokens), dim3(threads), 0, query_view(args),
             rope_view(args.rope, args.metadata->positions));
}

void run_mla_query_rope_any(Stream& stream, const MlaQueryRopeArgs& args) {
  launch_pdl(stream, mla_query_rope_any_kernel, dim3(args.metadata->num_tokens), dim3(128), 0, query_view(args),
             rope_view(args.rope, args.metadata->positions));
}

bool mla_query_rope_supports(const DeviceCaps&, const MlaQueryRopeArgs& args) {
  return args.rope.rotary_dim % 8 == 0 && kWarpSize % (args.rope.rotary_dim / 8) == 0 && rotates_by_eight(args.rope) &&
         has_aligned_rows(args.in) && has_aligned_rows(args.out);
}

}  // namespace

const OpImpl<MlaWriteArgs> kMlaWrite[2] = {{"mla_write_sm80", mla_write_supports, run_mla_write},
                                         {"mla_write_any_sm80", mla_write_any_supports, run_mla_write_any}};
const OpImpl<MlaQueryRopeArgs> kMlaQueryRope[2] = {{"mla_query_rope_sm80", mla_query_rope_supports, run_mla_query_rope},
                                                   {"mla_query_rope_any_sm80", supports_any, run_mla_query_rope_any}};

}  // namespace gale::cuda
