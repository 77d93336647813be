// What comes before GQA attention: biases, norms of heads, rotation, the write of keys and values into the paged cache. Limited by
// memory for many tokens and by latency for few: a block takes some heads of one token, a lane eight elements.
#include <algorithm>

#include "backends/cuda/attention.h"
#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/device/rope.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxHeadDim = 256;

struct QkvView {
  const Bf16 *qkv, *bias, *q_norm, *k_norm;
  Bf16* q_out;
  void *k_cache, *v_cache;
  int64_t qkv_token, q_token, q_head;
  const int64_t* slot_mapping;
  int num_heads, num_kv_heads, head_dim, block_size;
  float norm_eps;

  [[nodiscard]] __host__ __device__ int total_heads() const { return num_heads + 2 * num_kv_heads; }
  __device__ bool is_value(int head) const { return head >= num_heads + num_kv_heads; }
  // The cached row of a head behind the query heads.
  template <class Cache>
  __device__ Cache* cached(int head, int64_t slot) const {
    const int kv_head = head - num_heads - (is_value(head) ? num_kv_heads : 0);
    auto* cache = static_cast<Cache*>(is_value(head) ? v_cache : k_cache);
    return cache + ((slot / block_size * num_kv_heads + kv_head) * block_size + slot % block_size) * head_dim;
  }
};

// A lane's eight elements of one head: bias, norm, rotation; kLanes lanes a head.
template <class Cache, int kLanes>
__device__ void write_head(const QkvView& view, const RopeView& rope, const RopeAngles& angles, int token, int head, int64_t slot) {
  const int part = threadIdx.x % kLanes * 8;
  const bool inside = head < view.total_heads();
  const int at = (inside ? head : 0) * view.head_dim + part;
  float x[8];
  load_eight(x, view.qkv + token * view.qkv_token + at);
  if (view.bias != nullptr) {
    float bias[8];
    load_eight(bias, view.bias + at);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] += bias[i];
  }
  const bool is_q = head < view.num_heads, is_v = view.is_value(head);
  if (view.q_norm != nullptr) {
    float squares = squares_of(x);
#pragma unroll
    for (int offset = 1; offset < kLanes; offset *= 2) squares += __shfl_xor_sync(kFullMask, squares, offset);
    if (!is_v) norm_eight(x, rsqrtf(squares / view.head_dim + view.norm_eps), (is_q ? view.q_norm : view.k_norm) + part);
  }
  float rotated[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) rotated[i] = x[i];
  rotate_eight(rotated, angles, rope, part);
  if (!inside) return;
  if (is_q) {
    store_eight(view.q_out + token * view.q_token + head * view.q_head + part, rotated);
  } else if (slot >= 0) {
    store_eight(view.cached<Cache>(head, slot) + part, is_v ? x : rotated);
  }
}

template <class Cache, int kLanes>
__global__ void __launch_bounds__(kThreads) qkv_rope_write_kernel(QkvView view, __grid_constant__ const RopeView rope) {
  constexpr int kHeads = kThreads / kLanes;   // at once
  __shared__ RopeAngles angles;
  const int token = blockIdx.x;
  compute_angles(angles, rope, token);   // of positions, which no predecessor writes
  const int64_t slot = view.slot_mapping[token];
  wait_for_predecessor();
  release_successor();
#pragma unroll 2
  for (int first = blockIdx.y * kHeads; first < view.total_heads(); first += gridDim.y * kHeads) {
    write_head<Cache, kLanes>(view, rope, angles, token, first + threadIdx.x / kLanes, slot);
  }
}

// Any head size: one warp a head, which lies in shared memory between bias, norm and rotation.
template <class Cache>
__global__ void __launch_bounds__(kThreads) qkv_rope_write_any_kernel(QkvView view, __grid_constant__ const RopeView rope) {
  constexpr int kWarps = kThreads / kWarpSize;
  __shared__ RopeAngles angles;
  __shared__ float heads[kWarps][kMaxHeadDim];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, token = blockIdx.x;
  compute_angles(angles, rope, token);
  wait_for_predecessor();
  release_successor();
  const int64_t slot = view.slot_mapping[token];
  float* head = heads[warp];
  for (int h = warp; h < view.total_heads(); h += kWarps) {
    const Bf16* in = view.qkv + token * view.qkv_token + h * view.head_dim;
    float squares = 0;
    for (int d = lane; d < view.head_dim; d += kWarpSize) {
      head[d] = to_float(in[d]) + (view.bias == nullptr ? 0.0f : to_float(view.bias[h * view.head_dim + d]));
      squares += head[d] * head[d];
    }
    const bool is_q = h < view.num_heads, is_v = view.is_value(h);
    const Bf16* norm = is_q ? view.q_norm : view.k_norm;
    if (norm != nullptr && !is_v) {
      const float factor = rsqrtf(warp_sum(squares) / view.head_dim + view.norm_eps);
      for (int d = lane; d < view.head_dim; d += kWarpSize)
        head[d] = to_float(from_float<Bf16>(head[d] * factor)) * to_float(norm[d]);
    }
    __syncwarp();
    const auto at = [&](int i) { return head[i]; };
    for (int d = lane; d < view.head_dim; d += kWarpSize) {
      const float x = !is_v && d < 2 * rope.num_pairs ? rotated(angles, rope, d, at) : head[d];
      if (is_q) {
        view.q_out[token * view.q_token + h * view.q_head + d] = from_float<Bf16>(x);
      } else if (slot >= 0) {
        view.cached<Cache>(h, slot)[d] = Cache(x);   // FP8 saturates
      }
    }
    __syncwarp();   // the head buffer is reused
  }
}

QkvView view_of(const QkvRopeWriteArgs& args) {
  QkvView view{};
  view.qkv = static_cast<const Bf16*>(args.qkv.data), view.bias = static_cast<const Bf16*>(args.bias.data);
  view.q_norm = static_cast<const Bf16*>(args.q_norm.data), view.k_norm = static_cast<const Bf16*>(args.k_norm.data);
  view.q_out = static_cast<Bf16*>(args.q_out.data), view.k_cache = args.k_cache.data, view.v_cache = args.v_cache.data;
  view.qkv_token = args.qkv.strides[0], view.q_token = args.q_out.strides[0], view.q_head = args.q_out.strides[1];
  view.slot_mapping = args.metadata->slot_mapping.as<int64_t>();
  view.num_heads = static_cast<int>(args.q_out.shape[1]), view.head_dim = static_cast<int>(args.q_out.shape[2]);
  view.num_kv_heads = static_cast<int>(args.k_cache.shape[1]), view.block_size = args.metadata->block_size;
  view.norm_eps = args.norm_eps;
  return view;
}

constexpr int kLanes = kHeadDim / 8;
constexpr int kManyBlocks = 2048;   // some sixteen for each multiprocessor

void run_write(Stream& stream, const QkvRopeWriteArgs& args) {
  const QkvView view = view_of(args);
  const RopeView rope = rope_view(args.rope, args.metadata->positions);
  // A block takes all heads of a token where tokens alone fill the card: then angles are computed once.
  const int parts = ceil_div(view.total_heads(), kThreads / kLanes), wanted = ceil_div(kManyBlocks, args.metadata->num_tokens);
  const dim3 grid(args.metadata->num_tokens, std::min(parts, wanted));
  const auto run = [&](auto kernel) { launch_pdl(stream, kernel, grid, dim3(kThreads), 0, view, rope); };
  if (args.k_cache.dtype == DType::kBF16) run(qkv_rope_write_kernel<Bf16, kLanes>); else run(qkv_rope_write_kernel<Fp8, kLanes>);
}

void run_write_any(Stream& stream, const QkvRopeWriteArgs& args) {
  const QkvView view = view_of(args);
  const RopeView rope = rope_view(args.rope, args.metadata->positions);
  const auto run = [&](auto kernel) {
    launch_pdl(stream, kernel, dim3(args.metadata->num_tokens), dim3(kThreads), 0, view, rope);
  };
  if (args.k_cache.dtype == DType::kBF16) run(qkv_rope_write_any_kernel<Bf16>); else run(qkv_rope_write_any_kernel<Fp8>);
}

bool is_aligned(const Tensor& tensor) { return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0; }

bool write_supports(const DeviceCaps&, const QkvRopeWriteArgs& args) {
  return args.q_out.shape[2] == kHeadDim && is_cache_type(args.k_cache.dtype) && rotates_by_eight(args.rope) &&
         is_aligned(args.qkv) && args.qkv.strides[0] % 8 == 0 && has_aligned_rows(args.q_out) && is_aligned(args.bias) &&
         is_aligned(args.q_norm) && is_aligned(args.k_norm);
}
bool write_any_supports(const DeviceCaps&, const QkvRopeWriteArgs& args) {
  return args.q_out.shape[2] <= kMaxHeadDim && is_cache_type(args.k_cache.dtype);
}

}  // namespace

const OpImpl<QkvRopeWriteArgs> kQkvRopeWrite[2] = {{"qkv_rope_write_sm80", write_supports, run_write},
                                                   {"qkv_rope_write_any_sm80", write_any_supports, run_write_any}};

}  // namespace gale::cuda
