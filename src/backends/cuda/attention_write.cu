// What comes before GQA attention: biases, norms of heads, rotation, the write of keys and values into the paged cache.
// Limited by memory for many tokens and by latency for few: a block takes some heads of one token, a lane eight elements.
#include <algorithm>

#include "backends/cuda/attention.h"
#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/device/rope.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxHeadDim = 256;

// Where a token's row lies in the cache; block -1: nowhere.
struct Slot {
  int64_t block;
  int row;
  __device__ Slot(int64_t slot, int block_size)
      : block(slot < 0 ? -1 : slot / block_size), row(static_cast<int>(slot - block * block_size)) {}
};

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
  __device__ Cache* cached(int head, const Slot& slot) const {
    const int kv_head = head - num_heads - (is_value(head) ? num_kv_heads : 0);
    auto* cache = static_cast<Cache*>(is_value(head) ? v_cache : k_cache);
    return cache + ((slot.block * num_kv_heads + kv_head) * block_size + slot.row) * head_dim;
  }
};

// Eight elements of one head and what is added to them.
struct HeadPart {
  uint4 x, bias;
  __device__ void load(const QkvView& view, const Bf16* row, int at) {
    x = load_16(row + at);
    if (view.bias != nullptr) bias = load_16(view.bias + at);
  }
};

// A lane's eight elements of one head: bias, norm, rotation; kLanes lanes a head.
template <class Cache, int kLanes>
__device__ void write_head(const QkvView& view, const EightRotation& rotation, const HeadPart& in, int token, int head,
                           const Slot& slot) {
  const int part = threadIdx.x % kLanes * 8;
  float x[8];
  spread_eight(x, in.x);
  if (view.bias != nullptr) {
    float bias[8];
    spread_eight(bias, in.bias);
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
  rotation.apply(rotated);   // all lanes take part
#pragma unroll
  for (int i = 0; i < 8; ++i) rotated[i] = is_v ? x[i] : rotated[i];
  if (head >= view.total_heads()) return;
  if (is_q) {
    store_eight(view.q_out + token * view.q_token + head * view.q_head + part, rotated);
  } else if (slot.block >= 0) {
    store_eight(view.cached<Cache>(head, slot) + part, rotated);
  }
}

// A lane asks for some heads at once, so that memory's latency is met once for all of them.
template <class Cache, int kLanes>
__global__ void __launch_bounds__(kThreads) qkv_rope_write_kernel(QkvView view, __grid_constant__ const RopeView rope) {
  constexpr int kHeads = kThreads / kLanes, kBatch = 3;
  __shared__ RopeAngles angles;
  const int token = blockIdx.x, own = threadIdx.x / kLanes, part = threadIdx.x % kLanes * 8;
  const int step = static_cast<int>(gridDim.y) * kHeads;
  release_early();
  compute_angles(angles, rope, token);   // of positions, which no predecessor writes
  const EightRotation rotation(angles, rope, part);
  const Slot slot(view.slot_mapping[token], view.block_size);
  wait_for_predecessor();
  const Bf16* row = view.qkv + token * view.qkv_token;
  for (int first = static_cast<int>(blockIdx.y) * kHeads; first < view.total_heads(); first += kBatch * step) {
    HeadPart parts[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i * step >= view.total_heads()) break;
      parts[i].load(view, row, min(first + i * step + own, view.total_heads() - 1) * view.head_dim + part);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i * step >= view.total_heads()) break;
      write_head<Cache, kLanes>(view, rotation, parts[i], token, first + i * step + own, slot);
    }
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
  const Slot slot(view.slot_mapping[token], view.block_size);
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
      } else if (slot.block >= 0) {
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
  const bool is_bf16 = args.k_cache.dtype == DType::kBF16;
  run(is_bf16 ? qkv_rope_write_kernel<Bf16, kLanes> : qkv_rope_write_kernel<Fp8, kLanes>);
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
