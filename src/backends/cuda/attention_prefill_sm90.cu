// GQA attention of prompts over the paged cache on sm_90a, heads of 128, bf16 cache in pages of 64:
// device/flash_sm90.cuh with tiles of 128 keys, which the copy engine takes from the pages.
#include "backends/cuda/attention.h"
#include "backends/cuda/device/flash_sm90.cuh"
#include "backends/cuda/tensor_map.h"

namespace gale::cuda {
namespace {

using Flash = FlashConfig<kHeadDim, kHeadDim / 64, 128, FlashKeys::kPaged, true>;
static_assert(Flash::kSharedBytes + 256 <= 227 * 1024);

constexpr int kMinQueries = 16;   // fewer leave a block's rows empty; attention_prefill.cu packs heads into them
constexpr int kPageRows = 64;     // the size that a GPU's pages have unless --block-size says another

CUtensorMap cache_map(const Tensor& cache, int box_rows) {
  const int64_t num_rows = cache.shape[0] * cache.shape[1] * cache.shape[2];
  return make_tensor_map({cache.data, cache.dtype, num_rows, kHeadDim, kHeadDim}, box_rows);
}

}  // namespace

bool prefill_sm90_supports(const DeviceCaps& caps, const PagedAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  const bool is_made_for = args.q.shape[2] == kHeadDim && args.k_cache.dtype == DType::kBF16 &&
                           args.q.strides[1] == kHeadDim && has_aligned_rows(args.q) && has_aligned_rows(args.out);
  return caps.compute_capability == 90 && is_made_for && !metadata.chunks.empty() && metadata.block_size == kPageRows;
}

int first_prefill_sm90(const AttentionMetadata& metadata) {
  int first = metadata.num_seqs;
  while (first > metadata.num_decodes &&
         metadata.chunks[static_cast<size_t>(first - 1 - metadata.num_decodes)].num_queries >= kMinQueries) {
    --first;
  }
  return first;
}

void launch_prefill_sm90(Stream& stream, const PagedAttentionArgs& args, int first_sequence) {
  const AttentionMetadata& metadata = *args.metadata;
  const int num_kv_heads = static_cast<int>(args.k_cache.shape[1]);
  FlashView view{};
  view.out = static_cast<Bf16*>(args.out.data);
  view.out_token = args.out.strides[0], view.out_head = args.out.strides[1];
  view.pages = pages_of(metadata, num_kv_heads), view.box_rows = kPageRows;
  view.num_heads = static_cast<int>(args.q.shape[1]), view.group = view.num_heads / num_kv_heads;
  view.scale_log2 = score_scale(args.scale, DType::kBF16);
  const MatrixView q{args.q.data, DType::kBF16, args.q.shape[0], args.q.shape[1] * kHeadDim, args.q.strides[0]};
  const FlashMaps maps{.q = make_tensor_map(q, Flash::kRows), .k = cache_map(args.k_cache, view.box_rows), .common = {},
                       .v = cache_map(args.v_cache, view.box_rows)};
  int num_segments = 0, token = metadata.num_tokens;
  for (int s = metadata.num_seqs - 1; s >= first_sequence; --s) {   // the longest, which come last, begin first
    const PromptChunk& chunk = metadata.chunks[static_cast<size_t>(s - metadata.num_decodes)];
    token -= chunk.num_queries;
    view.segments[num_segments++] = {.sequence = s, .first_token = token, .num_queries = chunk.num_queries,
                                     .before = chunk.seq_len - chunk.num_queries, .key_begin = 0,
                                     .num_keys = chunk.seq_len, .first_row = 0};
    if (num_segments < kMaxFlashSegments && s > first_sequence) continue;
    launch_flash<Flash>(stream, maps, view, num_segments);
    num_segments = 0;
  }
}

}  // namespace gale::cuda
