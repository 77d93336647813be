// Attention over the paged cache, portable: GQA (keys and values apart) and absorbed MLA (the value is the first part of the
// key) by one kernel. A block owns one token and up to kHeads query heads of one KV head; its warps take keys in turn, each with
// its own running softmax, and are merged at the end in a fixed order. Limited by L2: every block reads the whole context.
#include "backends/cuda/device/common.cuh"
#include "backends/cuda/device/rope.cuh"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kHeads = 4;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;

struct AttentionView {
  const void *q, *k, *v;
  void* out;
  int64_t q_token, q_head, out_token, out_head;
  const int32_t *query_start_loc, *seq_lens, *block_tables;
  int64_t table_pitch;
  int num_seqs, block_size, num_kv_heads, group, key_dim, value_dim;
  float scale;
};

__device__ int sequence_of(const int32_t* query_start_loc, int num_seqs, int token) {
  int low = 0, high = num_seqs - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (query_start_loc[middle] <= token) low = middle; else high = middle - 1;
  }
  return low;
}

// What one warp knows of its share of the keys; element lane + 32 i of a head lies in part i.
template <int kValueParts>
struct Partial { float maximum[kHeads]; float sum[kHeads]; float value[kHeads][kValueParts]; };

template <class T, class Cache, int kKeyParts, int kValueParts>
__device__ void attend(Partial<kValueParts>& partial, const AttentionView& view, int token, int first_head, int num_heads,
                       int kv_head, int warp, int lane) {
  const int sequence = sequence_of(view.query_start_loc, view.num_seqs, token);
  const int visible = view.seq_lens[sequence] - (view.query_start_loc[sequence + 1] - 1 - token);
  const int32_t* blocks = view.block_tables + sequence * view.table_pitch;
  float query[kHeads][kKeyParts];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    partial.maximum[h] = -INFINITY, partial.sum[h] = 0;
    const T* row = static_cast<const T*>(view.q) + token * view.q_token + (first_head + h) * view.q_head;
#pragma unroll
    for (int i = 0; i < kKeyParts; ++i) {
      const int d = lane + i * kWarpSize;
      query[h][i] = h < num_heads && d < view.key_dim ? to_float(row[d]) * view.scale : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kValueParts; ++i) partial.value[h][i] = 0;
  }
  for (int j = warp; j < visible; j += kWarps) {
    const int64_t block = blocks[j / view.block_size];
    const int64_t row = (block * view.num_kv_heads + kv_head) * view.block_size + j % view.block_size;
    const Cache* key = static_cast<const Cache*>(view.k) + row * view.key_dim;
    const Cache* value = static_cast<const Cache*>(view.v) + row * view.key_dim;
    float dot[kHeads] = {};
#pragma unroll
    for (int i = 0; i < kKeyParts; ++i) {
      const int d = lane + i * kWarpSize;
      const float x = d < view.key_dim ? to_float(key[d]) : 0.0f;
#pragma unroll
      for (int h = 0; h < kHeads; ++h) dot[h] += query[h][i] * x;
    }
    float weight[kHeads];
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float score = warp_sum(dot[h]);
      const float maximum = fmaxf(partial.maximum[h], score);
      const float rescale = __expf(partial.maximum[h] - maximum);
      weight[h] = __expf(score - maximum);
      partial.maximum[h] = maximum;
      partial.sum[h] = partial.sum[h] * rescale + weight[h];
#pragma unroll
      for (int i = 0; i < kValueParts; ++i) partial.value[h][i] *= rescale;
    }
#pragma unroll
    for (int i = 0; i < kValueParts; ++i) {
      const int d = lane + i * kWarpSize;
      const float x = d < view.value_dim ? to_float(value[d]) : 0.0f;
#pragma unroll
      for (int h = 0; h < kHeads; ++h) partial.value[h][i] += weight[h] * x;
    }
  }
}

template <class T, class Cache, int kKeyParts, int kValueParts>
__global__ void __launch_bounds__(kThreads) attention_kernel(AttentionView view) {
  __shared__ float maxima[kWarps][kHeads], sums[kWarps][kHeads];
  __shared__ float values[kWarps][kValueParts * kWarpSize];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int chunks = (view.group + kHeads - 1) / kHeads;
  const int token = blockIdx.x, kv_head = blockIdx.y / chunks;
  const int in_group = blockIdx.y % chunks * kHeads;
  const int first_head = kv_head * view.group + in_group, num_heads = min(kHeads, view.group - in_group);
  Partial<kValueParts> partial;
  attend<T, Cache, kKeyParts, kValueParts>(partial, view, token, first_head, num_heads, kv_head, warp, lane);
#pragma unroll
  for (int h = 0; h < kHeads; ++h)
    if (lane == 0) maxima[warp][h] = partial.maximum[h], sums[warp][h] = partial.sum[h];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    __syncthreads();   // the head before has been read
#pragma unroll
    for (int i = 0; i < kValueParts; ++i) values[warp][lane + i * kWarpSize] = partial.value[h][i];
    __syncthreads();
    if (h >= num_heads) continue;
    float maximum = -INFINITY, total = 0;
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w][h]);
    for (int w = 0; w < kWarps; ++w) total += sums[w][h] * __expf(maxima[w][h] - maximum);
    T* out = static_cast<T*>(view.out) + token * view.out_token + (first_head + h) * view.out_head;
    for (int d = threadIdx.x; d < view.value_dim; d += kThreads) {
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += values[w][d] * __expf(maxima[w][h] - maximum);
      out[d] = from_float<T>(sum / total);
    }
  }
}

template <int kKeyParts, int kValueParts>
void launch_attention(Stream& stream, DType activation, DType cache, const AttentionView& view, int num_tokens) {
  with_float_type(activation, [&](auto t) {
    with_float_type(cache, [&](auto c) {
      const dim3 grid(num_tokens, view.num_kv_heads * ((view.group + kHeads - 1) / kHeads));
      launch(stream, attention_kernel<typename decltype(t)::type, typename decltype(c)::type, kKeyParts, kValueParts>, grid,
             dim3(kThreads), 0, view);
    });
  });
}

AttentionView view_of(const Tensor& out, const Tensor& q, const AttentionMetadata& metadata, float scale) {
  AttentionView view{};
  view.q = q.data, view.out = out.data;
  view.q_token = q.strides[0], view.q_head = q.strides[1];
  view.out_token = out.strides[0], view.out_head = out.strides[1];
  view.query_start_loc = metadata.query_start_loc.as<int32_t>();
  view.seq_lens = metadata.seq_lens.as<int32_t>();
  view.block_tables = metadata.block_tables.as<int32_t>();
  view.table_pitch = metadata.block_tables.strides[0];
  view.num_seqs = metadata.num_seqs, view.block_size = metadata.block_size, view.scale = scale;
  return view;
}

constexpr int kMaxHeadDim = 256;
constexpr int kMaxLatent = 512, kMaxLatentKey = 576;

void run_paged_attention(Stream& stream, const PagedAttentionArgs& args) {
  AttentionView view = view_of(args.out, args.q, *args.metadata, args.scale);
  view.k = args.k_cache.data, view.v = args.v_cache.data;
  view.num_kv_heads = static_cast<int>(args.k_cache.shape[1]);
  view.group = static_cast<int>(args.q.shape[1]) / view.num_kv_heads;
  view.key_dim = view.value_dim = static_cast<int>(args.q.shape[2]);
  const int tokens = args.metadata->num_tokens;
  if (view.key_dim <= 128) {
    launch_attention<4, 4>(stream, args.q.dtype, args.k_cache.dtype, view, tokens);
  } else {
    launch_attention<8, 8>(stream, args.q.dtype, args.k_cache.dtype, view, tokens);
  }
}

void run_mla_attention(Stream& stream, const MlaAttentionArgs& args) {
  AttentionView view = view_of(args.out, args.q, *args.metadata, args.scale);
  view.k = view.v = args.cache.data;
  view.num_kv_heads = 1, view.group = static_cast<int>(args.q.shape[1]);
  view.key_dim = static_cast<int>(args.q.shape[2]), view.value_dim = static_cast<int>(args.out.shape[2]);
  launch_attention<kMaxLatentKey / kWarpSize, kMaxLatent / kWarpSize>(stream, args.q.dtype, args.cache.dtype, view,
                                                                      args.metadata->num_tokens);
}

bool paged_attention_supports(const DeviceCaps&, const PagedAttentionArgs& args) { return args.q.shape[2] <= kMaxHeadDim; }
bool mla_attention_supports(const DeviceCaps&, const MlaAttentionArgs& args) {
  return args.q.shape[2] <= kMaxLatentKey && args.out.shape[2] <= kMaxLatent;
}

// --- what comes before it -----------------------------------------------------------------------------------------------------

struct QkvView {
  const void *qkv, *bias, *q_norm, *k_norm;
  void *q_out, *k_cache, *v_cache;
  int64_t qkv_token, q_token, q_head;
  const int64_t* slot_mapping;
  int num_heads, num_kv_heads, head_dim, block_size;
  float norm_eps;
};

// One warp a head; the head lies in shared memory between bias, norm and rotation.
template <class T, class W, class Cache>
__global__ void __launch_bounds__(kThreads) qkv_rope_write_kernel(QkvView view, RopeView rope) {
  __shared__ RopeAngles angles;
  __shared__ float heads[kWarps][kMaxHeadDim];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize, token = blockIdx.x;
  compute_angles(angles, rope, token);
  const int64_t slot = view.slot_mapping[token];
  const int64_t block = slot / view.block_size, offset = slot % view.block_size;
  float* head = heads[warp];
  for (int h = warp; h < view.num_heads + 2 * view.num_kv_heads; h += kWarps) {
    const T* in = static_cast<const T*>(view.qkv) + token * view.qkv_token + h * view.head_dim;
    const W* bias = static_cast<const W*>(view.bias);
    float squares = 0;
    for (int d = lane; d < view.head_dim; d += kWarpSize) {
      head[d] = to_float(in[d]) + (bias == nullptr ? 0.0f : to_float(bias[h * view.head_dim + d]));
      squares += head[d] * head[d];
    }
    const bool is_q = h < view.num_heads, is_v = h >= view.num_heads + view.num_kv_heads;
    const W* norm = static_cast<const W*>(is_q ? view.q_norm : view.k_norm);
    if (norm != nullptr && !is_v) {
      const float factor = rsqrtf(warp_sum(squares) / view.head_dim + view.norm_eps);
      for (int d = lane; d < view.head_dim; d += kWarpSize)
        head[d] = to_float(from_float<T>(head[d] * factor)) * to_float(norm[d]);
    }
    __syncwarp();
    const auto at = [&](int i) { return head[i]; };
    for (int d = lane; d < view.head_dim; d += kWarpSize) {
      const float x = !is_v && d < 2 * rope.num_pairs ? rotated(angles, rope, d, at) : head[d];
      if (is_q) {
        static_cast<T*>(view.q_out)[token * view.q_token + h * view.q_head + d] = from_float<T>(x);
      } else if (slot >= 0) {
        const int kv_head = h - view.num_heads - (is_v ? view.num_kv_heads : 0);
        Cache* cache = static_cast<Cache*>(is_v ? view.v_cache : view.k_cache);
        cache[((block * view.num_kv_heads + kv_head) * view.block_size + offset) * view.head_dim + d] = from_float<Cache>(x);
      }
    }
    __syncwarp();   // the head buffer is reused
  }
}

void run_qkv_rope_write(Stream& stream, const QkvRopeWriteArgs& args) {
  QkvView view{};
  view.qkv = args.qkv.data, view.bias = args.bias.data, view.q_norm = args.q_norm.data, view.k_norm = args.k_norm.data;
  view.q_out = args.q_out.data, view.k_cache = args.k_cache.data, view.v_cache = args.v_cache.data;
  view.qkv_token = args.qkv.strides[0], view.q_token = args.q_out.strides[0], view.q_head = args.q_out.strides[1];
  view.slot_mapping = args.metadata->slot_mapping.as<int64_t>();
  view.num_heads = static_cast<int>(args.q_out.shape[1]), view.head_dim = static_cast<int>(args.q_out.shape[2]);
  view.num_kv_heads = static_cast<int>(args.k_cache.shape[1]), view.block_size = args.metadata->block_size;
  view.norm_eps = args.norm_eps;
  const DType weight = !args.bias.is_empty() ? args.bias.dtype : !args.q_norm.is_empty() ? args.q_norm.dtype : DType::kBF16;
  const RopeView rope = rope_view(args.rope, args.metadata->positions);
  with_float_type(args.qkv.dtype, [&](auto t) {
    with_float_type(weight, [&](auto w) {
      with_float_type(args.k_cache.dtype, [&](auto c) {
        launch(stream, qkv_rope_write_kernel<typename decltype(t)::type, typename decltype(w)::type, typename decltype(c)::type>,
               dim3(args.metadata->num_tokens), dim3(kThreads), 0, view, rope);
      });
    });
  });
}

bool qkv_rope_write_supports(const DeviceCaps&, const QkvRopeWriteArgs& args) {
  const bool one_weight_type = args.bias.is_empty() || args.q_norm.is_empty() || args.bias.dtype == args.q_norm.dtype;
  return args.q_out.shape[2] <= kMaxHeadDim && one_weight_type;
}

}  // namespace

const OpImpl<QkvRopeWriteArgs> kQkvRopeWrite[1] = {{"qkv_rope_write_sm80", qkv_rope_write_supports, run_qkv_rope_write}};
const OpImpl<PagedAttentionArgs> kPagedAttention[1] = {{"paged_attention_sm80", paged_attention_supports, run_paged_attention}};
const OpImpl<MlaAttentionArgs> kMlaAttention[1] = {{"mla_attention_sm80", mla_attention_supports, run_mla_attention}};

}  // namespace gale::cuda
