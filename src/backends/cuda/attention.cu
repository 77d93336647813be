// Attention over the paged cache for any shape: GQA (keys and values apart) and absorbed MLA (the value is the first part of the
// key) by one kernel. A block owns one token and up to kHeads query heads of one KV head; its warps take keys in turn, each with
// its own running softmax, and are merged at the end in a fixed order. Limited by L2: every block reads the whole context. It
// serves the shapes for which the tensor-core kernels (attention_decode.cu, mla_attention.cu) are not made.
#include "backends/cuda/attention.h"
#include "backends/cuda/mla.h"
#include "backends/cuda/ops.h"

namespace gale::cuda {
namespace {

constexpr int kHeads = 4;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kMaxHeadDim = 256;
constexpr int kMaxLatent = 512, kMaxLatentKey = 576;

struct AnyView {
  AttentionView attention;   // its scale is not used
  int num_seqs, key_dim, value_dim;
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

template <class Cache, int kKeyParts, int kValueParts>
__device__ void attend(Partial<kValueParts>& partial, const AnyView& view, int token, int first_head, int num_heads, int kv_head,
                       int warp, int lane) {
  const int sequence = sequence_of(view.attention.query_start_loc, view.num_seqs, token);
  const int visible = view.attention.seq_lens[sequence] - (view.attention.query_start_loc[sequence + 1] - 1 - token);
  float query[kHeads][kKeyParts];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    partial.maximum[h] = -INFINITY, partial.sum[h] = 0;
    const Bf16* row = view.attention.q + token * view.attention.q_token + (first_head + h) * view.attention.q_head;
#pragma unroll
    for (int i = 0; i < kKeyParts; ++i) {
      const int d = lane + i * kWarpSize;
      query[h][i] = h < num_heads && d < view.key_dim ? to_float(row[d]) * view.scale : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kValueParts; ++i) partial.value[h][i] = 0;
  }
  for (int j = warp; j < visible; j += kWarps) {
    const int64_t row = view.attention.pages.row(sequence, kv_head, j);
    const Cache* key = static_cast<const Cache*>(view.attention.k) + row * view.key_dim;
    const Cache* value = static_cast<const Cache*>(view.attention.v) + row * view.key_dim;
    float dot[kHeads] = {};
#pragma unroll
    for (int i = 0; i < kKeyParts; ++i) {
      const int d = lane + i * kWarpSize;
      const float x = d < view.key_dim ? static_cast<float>(key[d]) : 0.0f;
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
      const float x = d < view.value_dim ? static_cast<float>(value[d]) : 0.0f;
#pragma unroll
      for (int h = 0; h < kHeads; ++h) partial.value[h][i] += weight[h] * x;
    }
  }
}

template <class Cache, int kKeyParts, int kValueParts>
__global__ void __launch_bounds__(kThreads) any_attention_kernel(AnyView view) {
  __shared__ float maxima[kWarps][kHeads], sums[kWarps][kHeads];
  __shared__ float values[kWarps][kValueParts * kWarpSize];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int chunks = (view.attention.group + kHeads - 1) / kHeads;
  const int token = blockIdx.x, kv_head = blockIdx.y / chunks;
  const int in_group = blockIdx.y % chunks * kHeads;
  const int first_head = kv_head * view.attention.group + in_group, num_heads = min(kHeads, view.attention.group - in_group);
  Partial<kValueParts> partial;
  attend<Cache, kKeyParts, kValueParts>(partial, view, token, first_head, num_heads, kv_head, warp, lane);
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
    float maximum = -INFINITY, total = 0, weight[kWarps];
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w][h]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weight[w] = sums[w][h] > 0 ? __expf(maxima[w][h] - maximum) : 0.0f;
      total += sums[w][h] * weight[w];
    }
    const float factor = total > 0 ? 1 / total : 0.0f;   // no keys: a padded row
    Bf16* out = view.attention.out + token * view.attention.out_token + (first_head + h) * view.attention.out_head;
    for (int d = threadIdx.x; d < view.value_dim; d += kThreads) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += values[w][d] * weight[w];
      out[d] = from_float<Bf16>(sum * factor);
    }
  }
}

template <int kKeyParts, int kValueParts>
void launch_any(Stream& stream, DType cache, const AnyView& view, int num_tokens) {
  const dim3 grid(num_tokens, view.attention.pages.num_heads * ceil_div(view.attention.group, kHeads));
  if (cache == DType::kBF16) {
    launch(stream, any_attention_kernel<Bf16, kKeyParts, kValueParts>, grid, dim3(kThreads), 0, view);
  } else {
    launch(stream, any_attention_kernel<Fp8, kKeyParts, kValueParts>, grid, dim3(kThreads), 0, view);
  }
}

AttentionView view_of(const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionMetadata& metadata,
                      int num_kv_heads) {
  AttentionView view{};
  view.q = static_cast<const Bf16*>(q.data), view.out = static_cast<Bf16*>(out.data), view.k = k.data, view.v = v.data;
  view.q_token = q.strides[0], view.q_head = q.strides[1];
  view.out_token = out.strides[0], view.out_head = out.strides[1];
  view.query_start_loc = metadata.query_start_loc.as<int32_t>();
  view.seq_lens = metadata.seq_lens.as<int32_t>();
  view.pages = pages_of(metadata, num_kv_heads);
  view.group = static_cast<int>(q.shape[1]) / num_kv_heads;
  return view;
}

AttentionView view_of(const PagedAttentionArgs& args) {
  return view_of(args.out, args.q, args.k_cache, args.v_cache, *args.metadata, static_cast<int>(args.k_cache.shape[1]));
}

void run_any_paged(Stream& stream, const PagedAttentionArgs& args) {
  const int head_dim = static_cast<int>(args.q.shape[2]), num_tokens = args.metadata->num_tokens;
  const AnyView view{view_of(args), args.metadata->num_seqs, head_dim, head_dim, args.scale};
  if (head_dim <= 128) {
    launch_any<4, 4>(stream, args.k_cache.dtype, view, num_tokens);
  } else {
    launch_any<8, 8>(stream, args.k_cache.dtype, view, num_tokens);
  }
}

bool any_paged_supports(const DeviceCaps&, const PagedAttentionArgs& args) {
  return args.q.shape[2] <= kMaxHeadDim && is_cache_type(args.k_cache.dtype);
}

// --- heads of 128 on tensor cores ---------------------------------------------------------------------------------------------

template <Sizing kSizing>
bool flash_supports(const DeviceCaps&, const PagedAttentionArgs& args) {
  return decode_fits(kSizing) && args.q.shape[2] == kHeadDim && is_cache_type(args.k_cache.dtype) && has_aligned_rows(args.q) &&
         has_aligned_rows(args.out) && !args.metadata->workspace.is_empty();
}

// Sequences of one token, then those before `end`.
template <Sizing kSizing>
void run_flash_until(Stream& stream, const PagedAttentionArgs& args, int end) {
  const AttentionMetadata& metadata = *args.metadata;
  AttentionView view = view_of(args);
  if (metadata.num_decodes > 0) {
    view.scale_log2 = score_scale(args.scale, DType::kBF16);   // FP8 keys are widened by their value
    launch_decode(stream, kSizing, args.k_cache.dtype, view, metadata.num_decodes, metadata.workspace);
  }
  if (end > metadata.num_decodes) {
    view.scale_log2 = score_scale(args.scale, args.k_cache.dtype);
    launch_prefill(stream, args.k_cache.dtype, view, metadata.num_decodes, end, metadata.max_query_len);
  }
}

template <Sizing kSizing>
void run_flash(Stream& stream, const PagedAttentionArgs& args) {
  run_flash_until<kSizing>(stream, args, args.metadata->num_seqs);
}

bool wgmma_supports(const DeviceCaps& caps, const PagedAttentionArgs& args) {
  return prefill_sm90_supports(caps, args) && flash_supports<Sizing::kHopper>(caps, args);
}

void run_wgmma(Stream& stream, const PagedAttentionArgs& args) {
  const int first = first_prefill_sm90(args);
  run_flash_until<Sizing::kHopper>(stream, args, first);
  if (first < args.metadata->num_seqs) launch_prefill_sm90(stream, args, first);
}

}  // namespace

const OpImpl<PagedAttentionArgs> kPagedAttention[4] = {
    {"paged_attention_wgmma_sm90", wgmma_supports, run_wgmma},
    {"paged_attention_flash_sm90", flash_supports<Sizing::kHopper>, run_flash<Sizing::kHopper>},
    {"paged_attention_flash_sm80", flash_supports<Sizing::kAny>, run_flash<Sizing::kAny>},
    {"paged_attention_any_sm80", any_paged_supports, run_any_paged}};

void run_any_mla(Stream& stream, const MlaAttentionArgs& args) {
  const AnyView view{view_of(args.out, args.q, args.cache, args.cache, *args.metadata, 1), args.metadata->num_seqs,
                     static_cast<int>(args.q.shape[2]), static_cast<int>(args.out.shape[2]), args.scale};
  launch_any<kMaxLatentKey / kWarpSize, kMaxLatent / kWarpSize>(stream, args.cache.dtype, view, args.metadata->num_tokens);
}

bool any_mla_supports(const DeviceCaps&, const MlaAttentionArgs& args) {
  return args.q.shape[2] <= kMaxLatentKey && args.out.shape[2] <= kMaxLatent && is_cache_type(args.cache.dtype);
}

size_t attention_workspace_bytes(const AttentionLimits& limits) {
  if (limits.key_dim == limits.value_dim) return decode_workspace_bytes() + prefill_sm90_workspace_bytes(limits);
  return mla_workspace_bytes() + mla_prefill_workspace_bytes(limits);
}

}  // namespace gale::cuda
