#pragma once

#include "backends/cuda/device/split.cuh"
#include "ops/mla.h"

// What absorbed MLA has to do, in the order in which it is shared out: an item is a query token and a pass of its
// heads; the tokens that it sees are cut into tiles.
namespace gale::cuda {

inline constexpr int kMlaKeyDim = 576, kMlaLatent = 512;
inline constexpr int kMlaColumns = 24;  // heads of a pass

struct MlaView {
  const Bf16* q;
  const void* cache;
  Bf16* out;
  int64_t q_token, q_head, out_token, out_head;
  const int32_t *query_start_loc, *seq_lens;
  Pages pages;
  Partials partials;
  int num_seqs, num_heads, passes;
  float scale_log2;
};

// Without passes, partials and the scale of scores.
inline MlaView view_of(const MlaAttentionArgs& args) {
  const AttentionMetadata& metadata = *args.metadata;
  MlaView view{};
  view.q = static_cast<const Bf16*>(args.q.data), view.out = static_cast<Bf16*>(args.out.data),
  view.cache = args.cache.data;
  view.q_token = args.q.strides[0], view.q_head = args.q.strides[1];
  view.out_token = args.out.strides[0], view.out_head = args.out.strides[1];
  view.query_start_loc = metadata.query_start_loc.as<int32_t>(), view.seq_lens = metadata.seq_lens.as<int32_t>();
  view.pages = pages_of(metadata, 1);
  view.num_seqs = metadata.num_seqs, view.num_heads = static_cast<int>(args.q.shape[1]);
  return view;
}

inline bool is_latent_shape(const MlaAttentionArgs& args) {
  return args.q.shape[2] == kMlaKeyDim && args.out.shape[2] == kMlaLatent && is_cache_type(args.cache.dtype) &&
         has_aligned_rows(args.q) && has_aligned_rows(args.out) && !args.metadata->workspace.is_empty();
}

// sum of ceil(j / tile) for j = 1 … count: tiles of `count` tokens, each with one key more than the last.
__device__ inline int staircase(int count, int tile) {
  const int whole = count / tile, rest = count % tile;
  return tile * whole * (whole + 1) / 2 + rest * (whole + 1);
}

// Tiles of the first `count` query tokens of a sequence, whose first sees before + 1 keys; an empty one (padding) has a
// tile.
__device__ inline int tiles_before(int before, int count, int tile) {
  return before < 0 ? count : staircase(before + count, tile) - staircase(before, tile);
}

__device__ inline int num_queries(const MlaView& view, int s) {
  return view.query_start_loc[s + 1] - view.query_start_loc[s];
}

// Tiles of a sequence.
__device__ inline int mla_tiles(const MlaView& view, int s, int tile) {
  const int queries = num_queries(view, s);
  return view.passes * tiles_before(view.seq_lens[s] - queries, queries, tile);
}

// Some tiles of an item.
struct MlaPiece {
  int token, sequence, pass;
  int visible, cached;        // keys it sees; those of them that earlier steps wrote
  int first_tile, num_tiles;  // none of a padded row
  int item_begin, item_end;   // of all its tiles, in the order of all
};

// The way through a share.
template <int kTile>
struct MlaCursor {
  int tile, end;                 // next tile
  int sequence, sequence_begin;  // of that tile

  __device__ explicit MlaCursor(const Share& share)
      : tile(share.begin), end(share.end), sequence(share.sequence), sequence_begin(share.sequence_begin) {}

  __device__ bool next(MlaPiece& piece, const MlaView& view) {
    if (tile >= end) return false;
    const int queries = num_queries(view, sequence), before = view.seq_lens[sequence] - queries,
              inside = tile - sequence_begin;
    int low = 0, high = queries - 1;  // the last query token whose tiles begin at or before this one
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (view.passes * tiles_before(before, middle, kTile) <= inside)
        low = middle;
      else
        high = middle - 1;
    }
    piece.token = view.query_start_loc[sequence] + low, piece.sequence = sequence;
    piece.visible = before + low + 1, piece.cached = before;
    const int tiles = tiles_of(piece.visible, kTile),
              in_token = inside - view.passes * tiles_before(before, low, kTile);
    piece.pass = in_token / tiles, piece.first_tile = in_token % tiles;
    const int num_tiles = min(tiles - piece.first_tile, end - tile);
    piece.num_tiles = piece.visible > 0 ? num_tiles : 0;
    piece.item_begin = tile - piece.first_tile, piece.item_end = piece.item_begin + tiles;
    tile += num_tiles;
    if (tile == sequence_begin + view.passes * tiles_before(before, queries, kTile)) sequence_begin = tile, ++sequence;
    return true;
  }
};

}  // namespace gale::cuda
