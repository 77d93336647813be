#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/stream_gemm_plan.h"
#include "backends/cuda/tile_gemm_plan.h"
#include "ops/product.h"

// Which kernel a product takes on Hopper: the first heuristic, which is thresholds and a model of time, or the
// candidate that `gale tune` measured. Plain functions of sizes: the same call always takes the same way.
//
// What a candidate must keep, so that a table cannot change what a token sees: it is chosen by weight and bucket of
// tokens alone, and within a bucket it adds up a row's products in one order, whatever the number of tokens. So a
// bucket ends where a kernel's order changes with the tokens (the groups of kSkinny: 8, 16, 32, 64), a share of K is
// part of the candidate, and nothing that adds by atomics is one. Sums of e4m3 products that stay in the tensor cores,
// which add with few bits, are no candidates where the heuristic takes them out.
namespace gale::cuda {

// kHeuristic: whatever the heuristic says for each number of tokens. kSkinny: device/skinny_gemm.cuh; size: weight rows
// a block. kStream: device/stream_gemm.cuh; size: 16 for kNarrow, 64 for kSmall, 128 for kMid, 256 for kLarge. kTile:
// device/tile_gemm.cuh; size: tokens of a tile. kWide: device/expert_gemm.cuh. kFew: moe_down_few_sm90.cu. kGemv:
// device/gemv.cuh.
enum class ProductKernel : uint8_t { kHeuristic, kSkinny, kStream, kTile, kWide, kFew, kGemv };

// split: blocks that share the K of a tile.
struct Candidate {
  ProductKernel kernel = ProductKernel::kHeuristic;
  int size = 0, split = 1;
  bool operator==(const Candidate&) const = default;
};
[[nodiscard]] std::string name_of(const Candidate& candidate);   // "tile:128:2"

inline constexpr int kNoBound = 1 << 20;   // of the last bucket
inline constexpr int kMaxFewTokens = 2, kMaxGemvTokens = 8;
inline constexpr int64_t kMaxGemvBytes = 24 << 20;   // of weights: larger ones lose to kStream and kSkinny in a step
inline constexpr int kMostMeasuredTokens = 8192;   // what stands for the last bucket

// The largest number of tokens of each bucket, rising; the last is kNoBound.
[[nodiscard]] std::span<const int> bucket_bounds(ProductOp op);
[[nodiscard]] int bucket_of(ProductOp op, int64_t num_tokens);
[[nodiscard]] int first_of_bucket(ProductOp op, int bucket);

// What a bucket of this product may take, the heuristic first.
[[nodiscard]] std::vector<Candidate> candidates_of(const ProductShape& shape, int bucket);
[[nodiscard]] std::optional<Candidate> find_candidate(const ProductShape& shape, int bucket, std::string_view name);

// can_tile, can_skinny, can_gemv: operands are as these kernels want them.
struct DenseCall {
  int num_tokens, size_n, num_k_blocks, num_heads = 1;
  bool can_tile = true, can_skinny = true, can_gemv = false;
};
struct DensePlan {
  Candidate kernel;
  TileGemmPlan tiles = {};
  StreamGemmPlan stream = {};
};
// A call that cannot take what is wanted takes the heuristic, as one of another shape does.
[[nodiscard]] DensePlan plan_dense_product(const DenseCall& call, const Candidate& wanted);

struct ExpertCall {
  int num_rows, num_experts, size_n, num_k_blocks;   // num_rows: (token, expert) pairs
  bool can_wide = true, is_fp8 = false;
};
struct ExpertPlan {
  Candidate kernel;
  StreamGemmPlan stream = {};
};
[[nodiscard]] ExpertPlan plan_expert_product(const ExpertCall& call, const Candidate& wanted);

[[nodiscard]] int blocks_of_k(const ProductShape& shape);
// What the heuristic takes for so many tokens whose operands lie as gale's do.
[[nodiscard]] Candidate first_choice(const ProductShape& shape, int num_tokens);

}  // namespace gale::cuda
