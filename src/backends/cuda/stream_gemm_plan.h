#pragma once

#include <algorithm>
#include <cstdint>

// Which tiles of device/stream_gemm.cuh a product takes, as plain functions of its sizes: the same call always takes the same way.
namespace gale::cuda {

// Weight rows by tokens, blocks an SM. kNarrow: 128 by 16, three (experts). kSmall: 128 by 64, two. kMid: 128 by 128,
// two. kLarge: 256 by 128, one (dense).
enum class TileSize : uint8_t { kNarrow, kSmall, kMid, kLarge };

struct StreamGemmPlan { TileSize tile; int num_row_tiles, num_token_tiles, cluster_size; };

inline constexpr int kNumSms = 132;                 // H100 SXM, H200
inline constexpr int kBlocksThatSaturate = 120;     // of 64 KiB in flight each: several times what hides the memory's latency
inline constexpr int kMinBlocksOfK = 3;             // below that a share of K costs more than it saves

// How many blocks share the K of one tile.
inline int split_of(int num_tiles, int num_k_blocks) {
  int split = 1;
  while (split < 8 && num_tiles * split < kBlocksThatSaturate && num_k_blocks / (split * 2) >= kMinBlocksOfK) split *= 2;
  return split;
}

// Share of the machine that works if so many blocks run, so many at a time.
inline double wave_share(int num_blocks, int at_a_time) {
  const int waves = (num_blocks + at_a_time - 1) / at_a_time;
  return static_cast<double>(num_blocks) / (waves * at_a_time);
}

// num_k_blocks: of 128 bytes. num_heads: matrices, each with its own columns of the tokens.
inline StreamGemmPlan plan_dense(int num_tokens, int size_n, int num_k_blocks, int num_heads) {
  const auto tiles = [](int size, int tile) { return (size + tile - 1) / tile; };
  if (num_tokens <= 64) {
    const int rows = tiles(size_n, 128);
    return {TileSize::kSmall, rows, 1, split_of(rows * num_heads, num_k_blocks)};
  }
  const int mid_rows = tiles(size_n, 128), large_rows = tiles(size_n, 256), columns = tiles(num_tokens, 128);
  const int pairs = tiles(columns, 2) * 2, mid_tiles = mid_rows * columns * num_heads;
  const int split = split_of(mid_tiles, num_k_blocks);
  // A large tile needs half of a middle one's traffic between L2 and the SMs.
  constexpr double kMidRate = 0.7;
  const double large = wave_share(large_rows * pairs * num_heads, kNumSms) * columns / pairs;
  const double mid = wave_share(mid_tiles * split, 2 * kNumSms) * kMidRate;
  if (num_tokens > 128 && large >= mid) return {TileSize::kLarge, large_rows, pairs, 2};
  return {TileSize::kMid, mid_rows, columns, split};
}

// num_rows: (token, expert) pairs. Many of them go to device/expert_gemm.cuh, if it takes the sizes.
inline bool are_experts_full(int num_rows, int num_experts) { return num_rows / num_experts > 32; }
// Hardly any of them has more than 16: a third block an SM streams while the others begin and end. In bf16, whose tiles
// last longer, it gains less, and soon less than second tiles of experts cost (perf/kernels-hopper.md).
inline bool are_experts_thin(int num_rows, int num_experts, bool is_fp8) {
  return num_rows <= (is_fp8 ? 10 : 6) * num_experts;
}

constexpr int tokens_of(TileSize tile) { return tile == TileSize::kNarrow ? 16 : tile == TileSize::kSmall ? 64 : 128; }

// How rows spread over experts is known on the device alone: token tiles are counted for the worst.
inline StreamGemmPlan plan_experts_in(TileSize tile, int num_rows, int num_experts, int size_n, int split) {
  const int touched = std::min(num_rows, num_experts);
  return {tile, (size_n + 127) / 128, touched + num_rows / tokens_of(tile), split};
}

inline StreamGemmPlan plan_experts(int num_rows, int num_experts, int size_n, int num_k_blocks, bool is_fp8) {
  const int num_tiles = (size_n + 127) / 128 * std::min(num_rows, num_experts);
  const bool is_narrow = num_tiles > 3 * kNumSms && are_experts_thin(num_rows, num_experts, is_fp8);
  TileSize tile = is_narrow ? TileSize::kNarrow : TileSize::kSmall;
  if (are_experts_full(num_rows, num_experts)) tile = TileSize::kMid;
  return plan_experts_in(tile, num_rows, num_experts, size_n, split_of(num_tiles, num_k_blocks));
}

}  // namespace gale::cuda
