#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

// Which tiles of device/tile_gemm.cuh and device/skinny_gemm.cuh a product takes, as plain functions of its sizes: the
// same call always takes the same way. num_k_blocks: of kBytesOfKBlock.
namespace gale::cuda {

inline constexpr int kBytesOfKBlock = 128;

// A tile has 128 weight rows. Blocks of a cluster: split of them share a tile's K; row_tiles of them load their tokens
// together.
struct TileGemmPlan {
  int tokens, split, row_tiles = 1;
};

inline constexpr int kTileGemmRows = 128, kTileGemmSms = 132;       // H100 SXM, H200
inline constexpr int kTileGemmTokens[] = {96, 128, 160, 192, 256};  // what the tile_gemm_*_sm90.cu files instantiate
inline constexpr int kMinTileTokens = 65;

// Microseconds as measured on an H100, within a tenth: what it takes on an SM that is busy longest, or from memory if
// that takes longer.
inline double tile_gemm_time(int num_tokens, int size_n, int num_k_blocks, const TileGemmPlan& plan) {
  constexpr double kClocks = 1690;                 // a microsecond
  constexpr double kStart = 2.8, kResults = 3.15;  // of 256 tokens
  constexpr double kShare = 1.25, kShareResults = 4.5;
  constexpr double kMemory = 2.43e6;  // bytes a microsecond
  const auto tiles = [](int size, int tile) { return (size + tile - 1) / tile; };
  const int row_tiles = tiles(size_n, kTileGemmRows), num_tiles = row_tiles * tiles(num_tokens, plan.tokens);
  // Shared memory is what limits: a product of 64 rows reads 64 + tokens rows of 32 bytes, copies write 128 + tokens
  // rows of 128.
  const double clocks = (8.0 * 32 * (64 + plan.tokens) + 128.0 * (128 + plan.tokens)) / 128;
  const double wide = plan.tokens / 256.0;
  const double work = tiles(num_tiles * plan.split, kTileGemmSms) *
                      (tiles(num_k_blocks, plan.split) * clocks / kClocks + kResults * wide);
  const double memory = 128.0 * num_k_blocks * size_n / kMemory;
  const double most = std::max(work, memory), ratio = std::min(work, memory) / most,
               fourth = ratio * ratio * ratio * ratio;
  const double sharing = plan.split == 1 ? 0 : kShare + kShareResults * wide * (plan.split - 1) / plan.split;
  return kStart + sharing + most * std::sqrt(std::sqrt(std::sqrt(1 + fourth * fourth)));
}

// For kMinTileTokens tokens and more.
inline TileGemmPlan plan_tiles(int num_tokens, int size_n, int num_k_blocks) {
  constexpr int kMinShare = 4;  // blocks of K
  constexpr struct {
    int num_tokens, with_padding;
  } kMostPadding{5, 7};
  TileGemmPlan best{};
  double least = std::numeric_limits<double>::infinity();
  for (const int tokens : kTileGemmTokens) {
    for (const int split : {1, 2, 3}) {
      const TileGemmPlan plan{tokens, split};
      const int columns = (num_tokens + tokens - 1) / tokens,
                num_tiles = (size_n + kTileGemmRows - 1) / kTileGemmRows * columns;
      if (columns > 1 && columns * tokens * kMostPadding.num_tokens > num_tokens * kMostPadding.with_padding) continue;
      if (split > 1 && (num_tiles * split > kTileGemmSms || num_k_blocks < split * kMinShare)) continue;
      const double time = tile_gemm_time(num_tokens, size_n, num_k_blocks, plan);
      if (time < least) best = plan, least = time;
    }
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
