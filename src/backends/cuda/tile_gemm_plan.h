#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

// Which tiles of device/tile_gemm.cuh and device/skinny_gemm.cuh a product takes, as plain functions of its sizes: the
// same call always takes the same way. num_k_blocks: of kBytesOfKBlock.
namespace gale::cuda {

inline constexpr int kBytesOfKBlock = 128;

// A tile has 128 weight rows; the blocks of a cluster share its K. The widest tiles come with narrow ones of half their
// tokens: for the last tokens, if these are few (has_narrow_column), and for both halves of the last num_halved wide
// tiles, so that all SMs end at about the same time. SMs that have a wide tile less take extra_rounds of narrow ones
// before the others take their first.
struct TileGemmPlan {
  int tokens, split;
  bool has_narrow_column = false;
  int num_halved = 0, extra_rounds = 0;
};

inline constexpr int kTileGemmRows = 128, kTileGemmSms = 132;       // H100 SXM, H200
inline constexpr int kTileGemmTokens[] = {96, 128, 160, 192, 256};  // what the tile_gemm_*_sm90.cu files instantiate
inline constexpr int kWidestTile = 256;
inline constexpr int kMinTileTokens = 65;

struct TileGemmSize {
  int num_tokens, size_n, num_k_blocks;
};

// Microseconds as measured on an H100, within a tenth, of one tile. Shared memory is what limits: a product of 64 rows
// reads 64 + tokens rows of 32 bytes, copies write 128 + tokens rows of 128.
inline double tile_time(int tokens, int num_k_blocks) {
  constexpr double kClocks = 1690, kResults = 3.15 / 256;  // a microsecond; a token
  const double clocks = (8.0 * 32 * (64 + tokens) + 128.0 * (128 + tokens)) / 128;
  return num_k_blocks * clocks / kClocks + kResults * tokens;
}

inline int tiles_of(int size, int tile) { return (size + tile - 1) / tile; }

// How a product's tiles go to clusters that stay: wide ones every so many, then narrow ones.
struct TileShares {
  int num_clusters, num_wide, num_narrow, extra_rounds;
};

// Number i of a cluster's tiles: a wide one's number, behind these a narrow one's, or -1 where there are no more.
constexpr int scheduled_tile(const TileShares& shares, int cluster, int i) {
  const int num_busy = shares.num_wide % shares.num_clusters, num_idle = shares.num_clusters - num_busy;
  const int num_wide = shares.num_wide / shares.num_clusters + (cluster < num_busy ? 1 : 0), j = i - num_wide;
  if (j < 0) return cluster + i * shares.num_clusters;
  int narrow = 0;
  if (cluster < num_busy) {
    narrow = shares.extra_rounds * num_idle + j * shares.num_clusters + num_idle + cluster;
  } else {
    const int extra = j < shares.extra_rounds ? j : shares.extra_rounds;
    narrow = extra * num_idle + (j - extra) * shares.num_clusters + cluster - num_busy;
  }
  return narrow < shares.num_narrow ? shares.num_wide + narrow : -1;
}

inline TileShares shares_of(const TileGemmSize& size, const TileGemmPlan& plan) {
  const int rows = tiles_of(size.size_n, kTileGemmRows);
  const int columns = plan.has_narrow_column ? size.num_tokens / plan.tokens : tiles_of(size.num_tokens, plan.tokens);
  const int num_wide = rows * columns - plan.num_halved;
  const int num_narrow = 2 * plan.num_halved + (plan.has_narrow_column ? rows : 0), num_tiles = num_wide + num_narrow;
  const int at_once = kTileGemmSms / plan.split;
  return {plan.split > 1 ? num_tiles : std::min(num_tiles, at_once), num_wide, num_narrow, plan.extra_rounds};
}

// Of the SM that is busy longest: the first of those with one wide tile more, or the first of the others.
inline double busy_time(const TileGemmSize& size, const TileGemmPlan& plan) {
  const int num_k_blocks = tiles_of(size.num_k_blocks, plan.split);
  const double wide = tile_time(plan.tokens, num_k_blocks), narrow = tile_time(plan.tokens / 2, num_k_blocks);
  const TileShares shares = shares_of(size, plan);
  const auto time_of = [&](int cluster) {
    const int num_wide = tiles_of(shares.num_wide - cluster, shares.num_clusters);
    int num_narrow = 0;
    while (scheduled_tile(shares, cluster, num_wide + num_narrow) >= 0) ++num_narrow;
    return num_wide * wide + num_narrow * narrow;
  };
  return std::max(time_of(0), time_of(shares.num_wide % shares.num_clusters));
}

// What the busiest SM needs, or memory if that takes longer.
inline double tile_gemm_time(const TileGemmSize& size, const TileGemmPlan& plan) {
  constexpr double kStart = 2.8, kShare = 1.25, kShareResults = 4.5 / 256, kBytes = 2.8e6;  // a microsecond
  const double busy = busy_time(size, plan);
  const double memory = static_cast<double>(kBytesOfKBlock) * size.num_k_blocks * size.size_n / kBytes;
  const double most = std::max(busy, memory), ratio = std::min(busy, memory) / most, fourth = std::pow(ratio, 4);
  const double sharing = plan.split == 1 ? 0 : kShare + kShareResults * plan.tokens * (plan.split - 1) / plan.split;
  return kStart + sharing + most * std::sqrt(std::sqrt(std::sqrt(1 + fourth * fourth)));
}

// Tiles of so many tokens whose K so many blocks share; zeros: whichever are fastest.
struct TileChoice {
  int tokens = 0, split = 0;
};

// For kMinTileTokens tokens and more.
inline TileGemmPlan plan_tiles(int num_tokens, int size_n, int num_k_blocks, TileChoice only = {}) {
  constexpr int kMinShare = 5;                      // blocks of K
  constexpr int kTokensOfPadding = 5, kPadded = 7;  // at most 5 : 7
  const TileGemmSize size{num_tokens, size_n, num_k_blocks};
  const int rows = tiles_of(size_n, kTileGemmRows);
  TileGemmPlan best{};
  double least = std::numeric_limits<double>::infinity();
  const bool is_free = only.tokens == 0;
  const auto consider = [&](const TileGemmPlan& plan) {
    if (!is_free && (plan.tokens != only.tokens || plan.split != only.split)) return;
    const double time = tile_gemm_time(size, plan);
    if (time < least) best = plan, least = time;
  };
  for (const int tokens : kTileGemmTokens) {
    const int columns = tiles_of(num_tokens, tokens), num_tiles = rows * columns;
    const bool is_padded = columns > 1 && columns * tokens * kTokensOfPadding > num_tokens * kPadded;
    if (is_padded && is_free) continue;
    for (const int split : {1, 2, 3})
      if (!is_free || split == 1 || (num_tiles * split <= kTileGemmSms && num_k_blocks >= split * kMinShare))
        consider({tokens, split});
  }
  if (num_tokens <= kWidestTile) return best;
  const int left = num_tokens % kWidestTile;
  for (const bool has_narrow_column : {false, true}) {
    if (has_narrow_column && (left == 0 || left > kWidestTile / 2)) continue;
    const int num_wide = rows * (has_narrow_column ? num_tokens / kWidestTile : tiles_of(num_tokens, kWidestTile));
    for (const int num_halved : {0, num_wide % kTileGemmSms})
      for (const int extra_rounds : {0, 1, 2})
        consider({kWidestTile, 1, has_narrow_column, num_halved, extra_rounds});
  }
  return best;
}

// --- few tokens --------------------------------------------------------------------------------

inline constexpr int kMaxSkinnyTokens = 64;

// Weight rows a block; 0: too many blocks, a kernel with larger tiles streams them as fast.
inline int skinny_rows(int size_n, int num_k_blocks) {
  constexpr int kLongK = 64;
  const int narrow = (size_n + 15) / 16, wide = (size_n + 31) / 32;
  if (narrow <= kTileGemmSms || (narrow <= 2 * kTileGemmSms && num_k_blocks >= kLongK)) return 16;
  return wide <= 2 * kTileGemmSms ? 32 : 0;
}
inline int skinny_tokens(int num_tokens) {
  return num_tokens <= 8 ? 8 : num_tokens <= 16 ? 16 : num_tokens <= 32 ? 32 : 64;
}

}  // namespace gale::cuda
