// GQA attention of prompts over the paged cache on sm_90a, heads of 128: device/flash_sm90.cuh with tiles of 128 keys.
// bf16 keys in pages of 64 are taken from there by the copy engine. An FP8 cache's keys and values are widened into
// buffers first: with few key heads that is little against their use by all query heads (9B: 1 KiB a token, read back
// from L2), and tensor cores then work at the speed of bf16. Few queries that see very many keys (a long prompt beside
// answers) have fewer blocks than there are SMs: then several blocks share their keys, and a second kernel adds up.
#include <algorithm>
#include <limits>

#include "backends/cuda/attention.h"
#include "backends/cuda/device/eight.cuh"
#include "backends/cuda/device/flash_sm90.cuh"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

using Flash = FlashConfig<kHeadDim, kHeadDim / 64, 128, FlashKeys::kPaged, true>;
using WidenedFlash = FlashConfig<kHeadDim, kHeadDim / 64, 128, FlashKeys::kSideBySide, true>;
static_assert(Flash::kSharedBytes + 256 <= 227 * 1024 && WidenedFlash::kSharedBytes == Flash::kSharedBytes);

constexpr int kMinQueries = 16;   // fewer leave a block's rows empty; attention_prefill.cu packs heads into them
constexpr int kMinWidenedQueries = 64;   // fewer are not worth the copy of all their keys
constexpr int kPageRows = 64;     // the size that a GPU's pages have unless --block-size says another

// --- keys that blocks share -----------------------------------------------------------------------------------------

constexpr int kMinSharedKeys = 1024;   // of a piece: fewer are not worth what adding up costs
constexpr int kMaxPieces = 8;
constexpr int kStatePitch = kHeadDim + 8;   // results, maximum, four sums
constexpr int kStateRows = 160 * Flash::kRows;   // times heads: those of a wave of blocks, whatever the card
constexpr size_t kStateBytes = size_t{kStateRows} * kStatePitch * sizeof(float);

// Into how many pieces a chunk's keys go, of a step that has so many blocks: as many as there is room for, or one.
int num_pieces(const PromptChunk& chunk, int num_blocks, int num_heads) {
  const int pieces = std::clamp(
      std::min(num_multiprocessors() / std::max(1, num_blocks), chunk.seq_len / kMinSharedKeys), 1, kMaxPieces);
  return int64_t{chunk.num_queries} * pieces * num_heads > kStateRows ? 1 : pieces;
}

// --- keys and values of an FP8 cache in bf16 ------------------------------------------------------------------------

constexpr int64_t kMaxWidenedBytes = int64_t{128} << 20;
constexpr int kWidenThreads = 256;

int64_t widened_row_bytes(int64_t num_kv_heads) { return 2 * num_kv_heads * kHeadDim * int64_t{sizeof(Bf16)}; }
size_t state_begin() { return (decode_workspace_bytes() + 255) / 256 * 256; }
size_t widened_begin() { return state_begin() + kStateBytes; }

// Rows of [num_kv_heads * kHeadDim], behind the workspace of decoding.
struct Widened {
  Bf16 *keys = nullptr, *values = nullptr;
  int64_t max_rows = 0;
};

int64_t max_widened_rows(const Tensor& workspace, int64_t num_kv_heads) {
  const int64_t bytes = static_cast<int64_t>(workspace.num_bytes()) - static_cast<int64_t>(widened_begin());
  return std::max<int64_t>(0, bytes) / widened_row_bytes(num_kv_heads);
}

Widened widened_of(const Tensor& workspace, int64_t num_kv_heads) {
  Widened out{.max_rows = max_widened_rows(workspace, num_kv_heads)};
  out.keys = reinterpret_cast<Bf16*>(static_cast<std::byte*>(workspace.data) + widened_begin());
  out.values = out.keys + out.max_rows * num_kv_heads * kHeadDim;
  return out;
}

struct WidenView {
  const Fp8 *k, *v;
  Widened to;
  Pages pages;
  int num_rows, num_kv_heads, num_segments;
  FlashSegment segments[kMaxFlashSegments];
};

// A thread eight elements of a key and of its value.
__global__ void __launch_bounds__(kWidenThreads) widen_kernel(const __grid_constant__ WidenView view) {
  constexpr int kPieces = kHeadDim / 8;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWidenThreads + threadIdx.x;
  const int piece = static_cast<int>(item % kPieces), head = static_cast<int>(item / kPieces % view.num_kv_heads);
  const int row = static_cast<int>(item / kPieces / view.num_kv_heads);
  wait_for_predecessor();
  release_successor();
  if (row >= view.num_rows) return;
  const FlashSegment& segment = segment_of_row(view, row);
  const int position = segment.key_begin + row - segment.first_row;
  const int64_t from = view.pages.row(segment.sequence, head, position) * kHeadDim + piece * 8;
  const int64_t to = (static_cast<int64_t>(row) * view.num_kv_heads + head) * kHeadDim + piece * 8;
  *reinterpret_cast<uint4*>(view.to.keys + to) = eight_in_bf16(view.k + from);
  *reinterpret_cast<uint4*>(view.to.values + to) = eight_in_bf16(view.v + from);
}

CUtensorMap cache_map(const Tensor& cache, int box_rows) {
  const int64_t num_rows = cache.shape[0] * cache.shape[1] * cache.shape[2];
  return make_tensor_map({cache.data, cache.dtype, num_rows, kHeadDim, kHeadDim}, box_rows);
}

}  // namespace

bool prefill_sm90_supports(const DeviceCaps& caps, const PagedAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const bool is_made_for = args.q.shape[2] == kHeadDim && args.q.strides[1] == kHeadDim && has_aligned_rows(args.q) &&
                           has_aligned_rows(args.out);
  const bool has_keys =
      args.k_cache.dtype == DType::kBF16
          ? metadata.block_size == kPageRows
          : is_cache_type(args.k_cache.dtype) && max_widened_rows(metadata.workspace, args.k_cache.shape[1]) > 0;
  return caps.compute_capability == 90 && is_made_for && has_keys && !metadata.chunks.empty();
}

int first_prefill_sm90(const PagedAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const bool is_widened = args.k_cache.dtype != DType::kBF16;
  const int64_t max_keys = is_widened ? max_widened_rows(metadata.workspace, args.k_cache.shape[1])
                                      : std::numeric_limits<int64_t>::max();
  int first = metadata.num_seqs;
  while (first > metadata.num_decodes) {
    const PromptChunk& chunk = metadata.chunks[static_cast<size_t>(first - 1 - metadata.num_decodes)];
    if (chunk.num_queries < (is_widened ? kMinWidenedQueries : kMinQueries) || chunk.seq_len > max_keys) break;
    --first;
  }
  return first;
}

namespace {

FlashView view_of(const PagedAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const int num_kv_heads = static_cast<int>(args.k_cache.shape[1]);
  FlashView view{};
  view.out = static_cast<Bf16*>(args.out.data);
  view.out_token = args.out.strides[0], view.out_head = args.out.strides[1];
  view.pages = pages_of(metadata, num_kv_heads), view.box_rows = kPageRows;
  view.num_heads = static_cast<int>(args.q.shape[1]), view.group = view.num_heads / num_kv_heads;
  view.scale_log2 = score_scale(args.scale, DType::kBF16);
  view.state = reinterpret_cast<float*>(static_cast<std::byte*>(metadata.workspace.data) + state_begin());
  view.state_token = int64_t{view.num_heads} * kStatePitch, view.state_head = kStatePitch;
  return view;
}

CUtensorMap query_map(const PagedAttentionArgs& args) {
  return make_tensor_map(
      {args.q.data, DType::kBF16, args.q.shape[0], args.q.shape[1] * kHeadDim, args.q.strides[0]}, Flash::kRows);
}

// Segments of view, whose keys lie in the cache.
void attend_pages(Stream& stream, const PagedAttentionArgs& args, FlashView& view, int num_segments) {
  const FlashMaps maps{.q = query_map(args), .k = cache_map(args.k_cache, view.box_rows), .common = {},
                       .v = cache_map(args.v_cache, view.box_rows)};
  launch_flash<Flash>(stream, maps, view, num_segments);
}

void attend_widened(Stream& stream, const PagedAttentionArgs& args, FlashView& view, int num_segments, int num_rows) {
  const int64_t num_kv_heads = args.k_cache.shape[1], width = num_kv_heads * kHeadDim;
  const Widened buffers = widened_of(args.metadata->workspace, num_kv_heads);
  WidenView widen{.k = static_cast<const Fp8*>(args.k_cache.data), .v = static_cast<const Fp8*>(args.v_cache.data),
                  .to = buffers, .pages = view.pages, .num_rows = num_rows,
                  .num_kv_heads = static_cast<int>(num_kv_heads), .num_segments = num_segments};
  std::copy_n(view.segments, num_segments, widen.segments);
  launch_pdl(stream, widen_kernel, dim3(ceil_div(num_rows * width / 8, kWidenThreads)), dim3(kWidenThreads), 0, widen);
  const auto rows_of = [&](const Bf16* data) {
    return make_tensor_map({data, DType::kBF16, num_rows, width, width}, WidenedFlash::kTile);
  };
  const FlashMaps maps{.q = query_map(args), .k = rows_of(buffers.keys), .common = rows_of(buffers.keys),
                       .v = rows_of(buffers.values)};
  launch_flash<WidenedFlash>(stream, maps, view, num_segments);
}

// What one launch attends to: segments, and of them what has to be added up afterwards.
struct Launch {
  int num_segments = 0, num_rows = 0, num_states = 0, num_merges = 0;
  FlashMergeView merges[kMaxFlashSegments];
};

int num_blocks_of(const AttentionMetadata& metadata, int first_sequence, int num_heads) {
  int rows = 0;
  for (int s = first_sequence; s < metadata.num_seqs; ++s)
    rows += ceil_div(metadata.chunks[static_cast<size_t>(s - metadata.num_decodes)].num_queries, Flash::kRows);
  return rows * num_heads;
}

// Equal pieces, but the last; whole tiles, of which each page has its part.
void add_pieces(Launch& launch, FlashView& view, FlashSegment whole, int pieces) {
  const int each = ceil_div(ceil_div(whole.num_keys, pieces), Flash::kTile) * Flash::kTile;
  const int first_row = whole.first_row, num_keys = whole.num_keys;
  whole.is_shared = pieces > 1;
  FlashMergeView merge{.out = view.out, .state = view.state, .out_token = view.out_token, .out_head = view.out_head,
                       .state_token = view.state_token, .state_head = view.state_head,
                       .first_token = whole.first_token, .num_queries = whole.num_queries, .before = whole.before,
                       .state_row = launch.num_states, .pieces = 0, .piece_keys = each, .num_heads = view.num_heads};
  for (int begin = 0; begin < num_keys; begin += each, ++merge.pieces) {
    whole.key_begin = begin, whole.num_keys = std::min(each, num_keys - begin), whole.first_row = first_row + begin;
    whole.state_row = launch.num_states;
    if (whole.is_shared) launch.num_states += whole.num_queries;
    view.segments[launch.num_segments++] = whole;
  }
  if (whole.is_shared) launch.merges[launch.num_merges++] = merge;
}

}  // namespace

void launch_prefill_sm90(Stream& stream, const PagedAttentionArgs& args, int first_sequence) {
  const AttentionMetadata& metadata = *args.metadata;
  const bool is_widened = args.k_cache.dtype != DType::kBF16;
  const int64_t max_rows = is_widened ? max_widened_rows(metadata.workspace, args.k_cache.shape[1]) : 0;
  FlashView view = view_of(args);
  const int num_blocks = num_blocks_of(metadata, first_sequence, view.num_heads);
  Launch launch;
  int token = metadata.num_tokens;
  const auto flush = [&] {
    if (launch.num_segments == 0) return;
    if (is_widened) attend_widened(stream, args, view, launch.num_segments, launch.num_rows);
    else attend_pages(stream, args, view, launch.num_segments);
    for (int i = 0; i < launch.num_merges; ++i) {
      const FlashMergeView& merge = launch.merges[i];
      launch_pdl(stream, flash_merge_kernel<Flash>, dim3(ceil_div(merge.num_queries * merge.num_heads, kMergeWarps)),
                 dim3(kMergeWarps * kWarpSize), 0, merge);
    }
    launch = {};
  };
  for (int s = metadata.num_seqs - 1; s >= first_sequence; --s) {   // the longest, which come last, begin first
    const PromptChunk& chunk = metadata.chunks[static_cast<size_t>(s - metadata.num_decodes)];
    const int pieces = num_pieces(chunk, num_blocks, view.num_heads);
    const bool has_state =
        (launch.num_states + int64_t{chunk.num_queries} * pieces) * view.num_heads <= kStateRows || pieces == 1;
    if (launch.num_segments + pieces > kMaxFlashSegments || !has_state ||
        (is_widened && launch.num_rows + chunk.seq_len > max_rows))
      flush();
    token -= chunk.num_queries;
    add_pieces(launch, view,
               {.sequence = s, .first_token = token, .num_queries = chunk.num_queries,
                .before = chunk.seq_len - chunk.num_queries, .num_keys = chunk.seq_len, .first_row = launch.num_rows},
               pieces);
    if (is_widened) launch.num_rows += chunk.seq_len;
  }
  flush();
}

size_t prefill_sm90_workspace_bytes(const AttentionLimits& limits) {
  if (!is_hopper() || limits.key_dim != kHeadDim) return 0;
  if (limits.cache_dtype == DType::kBF16) return 255 + kStateBytes;
  const int64_t most = int64_t{limits.max_num_seqs} * limits.max_model_len * widened_row_bytes(limits.num_kv_heads);
  return 255 + kStateBytes + static_cast<size_t>(std::min(kMaxWidenedBytes, most));
}

}  // namespace gale::cuda
