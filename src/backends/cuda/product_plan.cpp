#include "backends/cuda/product_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace gale::cuda {
namespace {

constexpr std::array kDenseBounds = {8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, kNoBound};
constexpr std::array kLogitsBounds = {8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, kNoBound};
constexpr std::array kExpertBounds = {kMaxFewTokens, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, kNoBound};
constexpr int kMinTileShare = 4;       // blocks of K

bool is_of_experts(ProductOp op) { return op == ProductOp::kMoeUp || op == ProductOp::kMoeDown; }

bool splits_k(int num_k_blocks, int split, int least) { return split == 1 || num_k_blocks / split >= least; }

void add_streams(std::vector<Candidate>& out, int size, std::span<const int> splits, int num_k_blocks) {
  for (const int split : splits)
    if (splits_k(num_k_blocks, split, kMinBlocksOfK)) out.push_back({ProductKernel::kStream, size, split});
}

void add_tiles(std::vector<Candidate>& out, const ProductShape& shape, int bucket) {
  const int num_k_blocks = blocks_of_k(shape), rows = tiles_of(static_cast<int>(shape.num_rows), kTileGemmRows);
  for (const int tokens : kTileGemmTokens) {
    if (tokens > 2 * bucket) continue;
    for (const int split : {1, 2, 3}) {
      const bool has_sms = split == 1 || rows * tiles_of(bucket, tokens) * split <= kTileGemmSms;
      if (has_sms && splits_k(num_k_blocks, split, kMinTileShare))
        out.push_back({ProductKernel::kTile, tokens, split});
    }
  }
}

void add_dense(std::vector<Candidate>& out, const ProductShape& shape, int bucket) {
  constexpr std::array kShares = {1, 2, 4, 8};
  const std::span all(kShares);
  const int num_k_blocks = blocks_of_k(shape);
  if (bucket <= kMaxSkinnyTokens) {
    if (shape.op == ProductOp::kLinear)
      for (const int rows : {16, 32}) out.push_back({ProductKernel::kSkinny, rows, 1});
    if (shape.op == ProductOp::kLinear && !shape.is_fp8 && bucket <= kMaxGemvTokens)
      out.push_back({ProductKernel::kGemv, 0, 1});
    return add_streams(out, 64, all, num_k_blocks);
  }
  add_tiles(out, shape, bucket);
  if (bucket <= 256) add_streams(out, 128, all.first(3), num_k_blocks);
  if (bucket > 128) out.push_back({ProductKernel::kStream, 256, 1});
}

void add_experts(std::vector<Candidate>& out, const ProductShape& shape, int bucket) {
  constexpr std::array kShares = {1, 2, 4, 8};
  const std::span all(kShares);
  const int num_k_blocks = blocks_of_k(shape);
  if (shape.op == ProductOp::kMoeDown && bucket <= kMaxFewTokens) out.push_back({ProductKernel::kFew, 0, 1});
  if (bucket <= 512) add_streams(out, 16, all.first(1), num_k_blocks);
  if (bucket <= 1024) add_streams(out, 64, bucket <= 64 ? all : all.first(2), num_k_blocks);
  if (bucket > 64) add_streams(out, 128, bucket <= 1024 ? all.first(2) : all.first(1), num_k_blocks);
  if (bucket > 128) out.push_back({ProductKernel::kWide, 0, 1});
}

// Of e4m3 products.
bool adds_coarsely(const Candidate& candidate) {
  switch (candidate.kernel) {
    case ProductKernel::kTile: case ProductKernel::kWide: return true;
    case ProductKernel::kStream: return candidate.size > 64;
    case ProductKernel::kHeuristic: case ProductKernel::kSkinny: case ProductKernel::kFew:
    case ProductKernel::kGemv: break;
  }
  return false;
}

StreamGemmPlan stream_plan(const DenseCall& call, const Candidate& wanted) {
  const int rows = tiles_of(call.size_n, wanted.size == 256 ? 256 : 128);
  const int columns = tiles_of(call.num_tokens, 128);
  if (wanted.size == 64) return {TileSize::kSmall, rows, 1, wanted.split};
  if (wanted.size == 128) return {TileSize::kMid, rows, columns, wanted.split};
  return {TileSize::kLarge, rows, tiles_of(columns, 2) * 2, 2};
}

Candidate candidate_of(const StreamGemmPlan& plan) {
  switch (plan.tile) {
    case TileSize::kNarrow: return {ProductKernel::kStream, 16, plan.cluster_size};
    case TileSize::kSmall: return {ProductKernel::kStream, 64, plan.cluster_size};
    case TileSize::kMid: return {ProductKernel::kStream, 128, plan.cluster_size};
    case TileSize::kLarge: return {ProductKernel::kStream, 256, 1};
  }
  CHECK(false, "a tile of size {}", static_cast<int>(plan.tile));
}

bool can_take(const DenseCall& call, const Candidate& wanted) {
  switch (wanted.kernel) {
    case ProductKernel::kSkinny: return call.can_skinny && call.num_tokens <= kMaxSkinnyTokens;
    case ProductKernel::kGemv: return call.can_gemv && call.num_tokens <= kMaxGemvTokens;
    case ProductKernel::kTile: return call.can_tile && wanted.split <= call.num_k_blocks;
    case ProductKernel::kStream: return wanted.size > 64 || call.num_tokens <= 64;
    case ProductKernel::kHeuristic: case ProductKernel::kWide: case ProductKernel::kFew: break;
  }
  return false;
}

// --- the first heuristic ---

DensePlan dense_heuristic(const DenseCall& call) {
  if (call.can_tile && call.num_tokens >= kMinTileTokens) {
    const TileGemmPlan tiles = plan_tiles(call.num_tokens, call.size_n, call.num_k_blocks);
    return {{ProductKernel::kTile, tiles.tokens, tiles.split}, tiles};
  }
  const int64_t bytes = int64_t{call.num_heads} * call.size_n * call.num_k_blocks * kBytesOfKBlock;
  if (call.can_gemv && call.num_tokens <= kMaxGemvTokens && bytes <= kMaxGemvBytes)
    return {{ProductKernel::kGemv, 0, 1}};
  const int rows = skinny_rows(call.size_n, call.num_k_blocks);
  if (call.can_skinny && call.num_tokens <= kMaxSkinnyTokens && rows > 0) return {{ProductKernel::kSkinny, rows, 1}};
  const StreamGemmPlan stream = plan_dense(call.num_tokens, call.size_n, call.num_k_blocks, call.num_heads);
  return {candidate_of(stream), {}, stream};
}

ExpertPlan expert_heuristic(const ExpertCall& call) {
  const StreamGemmPlan plan =
      plan_experts(call.num_rows, call.num_experts, call.size_n, call.num_k_blocks, call.is_fp8);
  if (plan.tile == TileSize::kMid && call.can_wide) return {{ProductKernel::kWide, 0, 1}, plan};
  return {candidate_of(plan), plan};
}

}  // namespace

std::string name_of(const Candidate& candidate) {
  switch (candidate.kernel) {
    case ProductKernel::kHeuristic: return "heuristic";
    case ProductKernel::kSkinny: return fmt::format("skinny:{}", candidate.size);
    case ProductKernel::kStream: return fmt::format("stream:{}:{}", candidate.size, candidate.split);
    case ProductKernel::kTile: return fmt::format("tile:{}:{}", candidate.size, candidate.split);
    case ProductKernel::kWide: return "wide";
    case ProductKernel::kFew: return "few";
    case ProductKernel::kGemv: return "gemv";
  }
  CHECK(false, "kernel {}", static_cast<int>(candidate.kernel));
}

std::span<const int> bucket_bounds(ProductOp op) {
  if (is_of_experts(op)) return kExpertBounds;
  if (op == ProductOp::kLogits) return kLogitsBounds;
  return kDenseBounds;
}

int bucket_of(ProductOp op, int64_t num_tokens) {
  const std::span<const int> bounds = bucket_bounds(op);
  const auto found = std::lower_bound(bounds.begin(), bounds.end(), num_tokens);
  return found == bounds.end() ? bounds.back() : *found;
}

int blocks_of_k(const ProductShape& shape) {
  return static_cast<int>((shape.num_cols * (shape.is_fp8 ? 1 : 2) + kBytesOfKBlock - 1) / kBytesOfKBlock);
}

int first_of_bucket(ProductOp op, int bucket) {
  const std::span<const int> bounds = bucket_bounds(op);
  const auto found = std::find(bounds.begin(), bounds.end(), bucket);
  CHECK(found != bounds.end(), "{} has no bucket {}", name_of(op), bucket);
  return found == bounds.begin() ? 1 : *(found - 1) + 1;
}

std::vector<Candidate> candidates_of(const ProductShape& shape, int bucket) {
  std::vector<Candidate> out = {{}};
  if (is_of_experts(shape.op)) {
    add_experts(out, shape, bucket);
  } else {
    add_dense(out, shape, bucket);
  }
  if (shape.is_fp8 && !adds_coarsely(first_choice(shape, first_of_bucket(shape.op, bucket))))
    std::erase_if(out, adds_coarsely);
  return out;
}

std::optional<Candidate> find_candidate(const ProductShape& shape, int bucket, std::string_view name) {
  for (const Candidate& candidate : candidates_of(shape, bucket))
    if (name_of(candidate) == name) return candidate;
  return std::nullopt;
}

DensePlan plan_dense_product(const DenseCall& call, const Candidate& wanted) {
  if (!can_take(call, wanted)) return dense_heuristic(call);
  if (wanted.kernel == ProductKernel::kTile)
    return {wanted, plan_tiles(call.num_tokens, call.size_n, call.num_k_blocks, {wanted.size, wanted.split})};
  if (wanted.kernel == ProductKernel::kStream) return {wanted, {}, stream_plan(call, wanted)};
  return {wanted};
}

ExpertPlan plan_expert_product(const ExpertCall& call, const Candidate& wanted) {
  if (wanted.kernel == ProductKernel::kWide && call.can_wide) return {wanted};
  if (wanted.kernel != ProductKernel::kStream) return expert_heuristic(call);
  const TileSize tile = wanted.size == 16 ? TileSize::kNarrow : wanted.size == 64 ? TileSize::kSmall : TileSize::kMid;
  return {wanted, plan_experts_in(tile, call.num_rows, call.num_experts, call.size_n, wanted.split)};
}

Candidate first_choice(const ProductShape& shape, int num_tokens) {
  const int size_n = static_cast<int>(shape.num_rows), num_k_blocks = blocks_of_k(shape);
  if (!is_of_experts(shape.op))
    return dense_heuristic({.num_tokens = num_tokens, .size_n = size_n, .num_k_blocks = num_k_blocks,
                            .can_skinny = shape.op == ProductOp::kLinear,
                            .can_gemv = shape.op == ProductOp::kLinear && !shape.is_fp8 && shape.num_cols % 8 == 0})
        .kernel;
  if (shape.op == ProductOp::kMoeDown && num_tokens <= kMaxFewTokens) return {ProductKernel::kFew, 0, 1};
  return expert_heuristic({.num_rows = num_tokens * static_cast<int>(shape.num_chosen),
                           .num_experts = static_cast<int>(shape.num_matrices), .size_n = size_n,
                           .num_k_blocks = num_k_blocks, .is_fp8 = shape.is_fp8})
      .kernel;
}

}  // namespace gale::cuda
