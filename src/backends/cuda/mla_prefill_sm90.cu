// MLA of prompts, expanded: keys and values of a stretch of cached tokens are made from their latents
// (device/mla_expand.cuh), then attended by heads of 256 (device/flash_sm90.cuh), stretch after stretch. Against the
// absorbed form a pair of tokens costs half of the arithmetic, and a cached token 229 thousand products a head once a
// step.
#include "backends/cuda/device/mla_expand.cuh"
#include "backends/cuda/mla.h"
#include "backends/cuda/mla_prefill_plan.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/packing.cuh"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

constexpr int kHeadDim = kNopeDim + kRopeDim;
using Flash = FlashConfig<kHeadDim, kNopeDim / 64, 80, FlashKeys::kSideBySide, false>;
static_assert(kHeadValueDim == kHeadDim && Flash::kRows == kExpandedRows);
static_assert(Flash::kSharedBytes + 256 <= 227 * 1024 && Expand::kSharedBytes + 256 <= 227 * 1024);

constexpr int64_t kMaxRows = 104 * Flash::kTile;   // of the buffers: 8192 tokens and more
constexpr int64_t kMinPiece = 1024;                // of a sequence, where it is cut

int64_t in_tiles(int64_t num_keys) { return (num_keys + Flash::kTile - 1) / Flash::kTile * Flash::kTile; }
int64_t row_bytes(int64_t num_heads) { return 2 * (kLatentDim + kRopeDim + num_heads * (kNopeDim + kHeadValueDim)); }

// In the step's workspace.
struct Buffers {
  Bf16 *latents, *rope_keys, *keys, *values;
  int64_t max_rows;
};

int64_t max_rows_of(const Tensor& workspace, int64_t num_heads) {
  const int64_t bytes = static_cast<int64_t>(workspace.num_bytes()) - static_cast<int64_t>(mla_scratch_begin());
  return std::min(kMaxRows, bytes / row_bytes(num_heads) / Flash::kTile * Flash::kTile);
}

Buffers buffers_of(const Tensor& workspace, int64_t num_heads) {
  Buffers buffers{};
  buffers.max_rows = max_rows_of(workspace, num_heads);
  buffers.latents = reinterpret_cast<Bf16*>(static_cast<std::byte*>(workspace.data) + mla_scratch_begin());
  buffers.rope_keys = buffers.latents + buffers.max_rows * kLatentDim;
  buffers.keys = buffers.rope_keys + buffers.max_rows * kRopeDim;
  buffers.values = buffers.keys + buffers.max_rows * num_heads * kNopeDim;
  return buffers;
}

// What is in the buffers at once.
struct Round {
  int num_rows = 0, num_segments = 0;
  FlashSegment segments[kMaxFlashSegments];

  void add(int sequence, int first_token, const PromptChunk& chunk, int key_begin, int num_keys) {
    const int before = chunk.seq_len - chunk.num_queries;
    segments[num_segments++] = {.sequence = sequence, .first_token = first_token, .num_queries = chunk.num_queries,
                                .before = before, .key_begin = key_begin, .num_keys = num_keys,
                                .first_row = num_rows, .state_row = first_token};
    num_rows += num_keys;
  }
};

CUtensorMap map_of(const void* data, int64_t num_rows, int64_t num_cols, int64_t row_stride, int box_rows) {
  return make_tensor_map({data, DType::kBF16, num_rows, num_cols, row_stride}, box_rows);
}

void expand(Stream& stream, const MlaPrefillArgs& args, const Buffers& buffers, const Round& round) {
  GatherView gather{.cache = args.cache.data, .latents = buffers.latents, .rope_keys = buffers.rope_keys,
                    .pages = pages_of(*args.metadata, 1), .num_rows = round.num_rows,
                    .num_segments = round.num_segments};
  std::copy_n(round.segments, round.num_segments, gather.segments);
  launch_gather(stream, args.cache.dtype, gather);
  const int64_t heads = args.q.shape[1];
  const ExpandMaps maps{
      .latents = map_of(buffers.latents, round.num_rows, kLatentDim, kLatentDim, Expand::kTokens),
      .w_uk = map_of(args.w_uk->data.data, heads * kLatentDim, kNopeDim, packed_pitch(kNopeDim), 64),
      .w_uv = map_of(args.w_uv->data.data, heads * kHeadValueDim, kLatentDim, packed_pitch(kLatentDim), kHeadValueDim),
      .keys = map_of(buffers.keys, round.num_rows, heads * kNopeDim, heads * kNopeDim, 64),
      .values = map_of(buffers.values, round.num_rows, heads * kHeadValueDim, heads * kHeadValueDim, 64)};
  const ExpandView view{ceil_div(round.num_rows, Expand::kTokens), static_cast<int>(heads)};
  allow_shared_memory(mla_expand_kernel, Expand::kSharedBytes);
  launch_pdl(stream, mla_expand_kernel, dim3(std::min(num_multiprocessors(), 2 * view.num_tiles * view.num_heads)),
             dim3(Expand::kThreads), Expand::kSharedBytes, maps, view);
}

void attend(Stream& stream, const MlaPrefillArgs& args, const Buffers& buffers, const Round& round) {
  const int64_t heads = args.q.shape[1];
  FlashView view{};
  view.out = static_cast<Bf16*>(args.out.data);
  view.out_token = args.out.strides[0], view.out_head = args.out.strides[1];
  view.state = static_cast<float*>(args.scratch.data);   // of bf16: two elements a float
  view.state_token = args.scratch.strides[0] / 2, view.state_head = args.scratch.strides[1] / 2;
  view.num_heads = static_cast<int>(heads), view.group = 1;
  view.scale_log2 = score_scale(args.scale, DType::kBF16);
  std::copy_n(round.segments, round.num_segments, view.segments);
  const auto tiles_of = [&](const Bf16* data, int64_t width) {
    return map_of(data, round.num_rows, width, width, Flash::kTile);
  };
  const FlashMaps maps{.q = map_of(args.q.data, args.q.shape[0], heads * kHeadDim, args.q.strides[0], Flash::kRows),
                       .k = tiles_of(buffers.keys, heads * kNopeDim),
                       .common = tiles_of(buffers.rope_keys, kRopeDim),
                       .v = tiles_of(buffers.values, heads * kHeadValueDim)};
  launch_flash<Flash>(stream, maps, view, round.num_segments);
}

void run_prefill(Stream& stream, const MlaPrefillArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const Buffers buffers = buffers_of(metadata.workspace, args.q.shape[1]);
  Round round;
  const auto flush = [&] {
    if (round.num_segments == 0) return;
    expand(stream, args, buffers, round);
    attend(stream, args, buffers, round);
    round = {};
  };
  int first_token = metadata.num_tokens;
  for (int s = metadata.num_seqs - 1; s >= args.first_sequence; --s) {
    const PromptChunk& chunk = metadata.chunks[static_cast<size_t>(s - metadata.num_decodes)];
    first_token -= chunk.num_queries;
    for (int begin = 0; begin < chunk.seq_len;) {
      const int64_t room = buffers.max_rows - round.num_rows, wanted = chunk.seq_len - begin;
      const bool is_worth_it = wanted <= room || room >= std::min(kMinPiece, buffers.max_rows);
      if (round.num_segments == kMaxFlashSegments || !is_worth_it) {
        flush();
        continue;
      }
      // Pieces but the last are whole tiles, so that results do not depend on where they end.
      const int num_keys = static_cast<int>(wanted <= room ? wanted : room / Flash::kTile * Flash::kTile);
      round.add(s, first_token, chunk, begin, num_keys);
      begin += num_keys;
    }
  }
  flush();
}

bool prefill_supports(const DeviceCaps& caps, const MlaPrefillArgs& args) {
  const auto is_weight = [](const PackedWeight& weight, int64_t rows, int64_t cols) {
    return weight.data.dtype == DType::kBF16 && weight.num_rows == rows && weight.num_cols == cols;
  };
  const bool is_made_for = args.cache.shape[2] == kLatentDim + kRopeDim && args.q.shape[2] == kHeadDim &&
                           is_weight(*args.w_uk, kLatentDim, kNopeDim) &&
                           is_weight(*args.w_uv, kHeadValueDim, kLatentDim) && is_cache_type(args.cache.dtype);
  return caps.compute_capability == 90 && is_made_for && args.q.strides[1] == kHeadDim &&
         has_aligned_rows(args.q) && has_aligned_rows(args.out) && has_aligned_rows(args.scratch) &&
         max_rows_of(args.metadata->workspace, args.q.shape[1]) > 0;
}

}  // namespace

const OpImpl<MlaPrefillArgs> kMlaPrefill[1] = {{"mla_prefill_sm90", prefill_supports, run_prefill}};

int mla_first_prefill(const MlaPrefillArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  int first = metadata.num_decodes;
  for (const PromptChunk& chunk : metadata.chunks) {
    if (is_expanded_faster(chunk.num_queries, chunk.seq_len, static_cast<int>(args.q.shape[1]))) return first;
    ++first;
  }
  return metadata.num_seqs;
}

size_t mla_prefill_workspace_bytes(const AttentionLimits& limits) {
  if (!is_hopper() || limits.nope_dim != kNopeDim || limits.head_value_dim != kHeadValueDim) return 0;
  const int64_t most = in_tiles(int64_t{limits.max_num_seqs} * limits.max_model_len);
  return 255 + static_cast<size_t>(std::min(kMaxRows, most) * row_bytes(limits.num_heads));
}

}  // namespace gale::cuda
