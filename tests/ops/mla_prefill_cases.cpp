#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "support/problems.h"

namespace gale {
namespace {

constexpr int64_t kLatent = 512, kRope = 64, kNope = 192, kValue = 256;   // the sizes that kernels are made for
constexpr int64_t kWidth = kLatent + kRope, kKey = kNope + kRope;
constexpr int64_t kRoomy = 1 << 20;

struct MlaPrefillProblem {
  PagedBatch batch;
  int64_t num_heads;
  DType cache_dtype;
  Values q, cache, w_uk, w_uv;          // w_uk: heads x [L, N], w_uv: heads x [V, L]
  int num_decodes = 0;
  float scale = 1 / 16.0f;

  MlaPrefillProblem(PagedBatch pages, int64_t num_heads, DType cache_dtype, DType dtype)
      : batch(std::move(pages)), num_heads(num_heads), cache_dtype(cache_dtype) {
    q = random_values(batch.num_tokens * num_heads * kKey, 51, dtype);
    cache = random_values(batch.num_blocks * batch.block_size * kWidth, 52, cache_dtype);
    w_uk = random_values(num_heads * kLatent * kNope, 53, DType::kBF16, 0.05);
    w_uv = random_values(num_heads * kValue * kLatent, 54, DType::kBF16, 0.05);
    while (batch.query_lens[static_cast<size_t>(num_decodes)] == 1) ++num_decodes;
  }

  // max_keys: what the workspace must hold at once; fewer than the sequences have: they go in pieces.
  [[nodiscard]] Values run(Harness& harness, int first_sequence, int64_t max_keys) const {
    AttentionMetadata metadata = batch.metadata(harness, 0, batch.num_tokens);
    EXPECT_EQ(metadata.num_decodes, num_decodes);
    metadata.workspace = harness.attention_workspace(
        {.max_num_seqs = 1, .max_num_tokens = metadata.num_tokens, .max_model_len = static_cast<int>(max_keys),
         .num_heads = static_cast<int>(num_heads), .num_kv_heads = 1, .key_dim = kWidth, .value_dim = kLatent,
         .nope_dim = kNope, .head_value_dim = kValue});
    const PackedWeight uk = harness.pack(w_uk, {kLatent}, kNope, num_heads, DType::kBF16, RowOrder::kPlain);
    const PackedWeight uv = harness.pack(w_uv, {kValue}, kLatent, num_heads, DType::kBF16, RowOrder::kPlain);
    const Tensor out = harness.output({batch.num_tokens, num_heads, kValue});
    harness.call<MlaPrefillArgs>(
        mla_prefill, &OpTable::mla_prefill,
        {.out = out, .q = harness.activations(q, {batch.num_tokens, num_heads, kKey}),
         .scratch = harness.output({batch.num_tokens, num_heads, kWidth}),
         .cache = harness.put(cache, {batch.num_blocks, batch.block_size, kWidth}, cache_dtype), .w_uk = &uk,
         .w_uv = &uv, .metadata = &metadata, .first_sequence = first_sequence, .scale = scale});
    return harness.get(out);
  }

  // Of the sequences from first_sequence on.
  [[nodiscard]] Values reference(int first_sequence) const {
    Values rows;
    const int64_t first_token = batch.starts[static_cast<size_t>(first_sequence)];
    for (int64_t item = first_token * num_heads; item < batch.num_tokens * num_heads; ++item) {
      const Values row = row_of(item / num_heads, item % num_heads);
      rows.insert(rows.end(), row.begin(), row.end());
    }
    return rows;
  }

 private:
  // By the absorbed form: sum_n q_n (W_UK^T c)_n = (W_UK q) . c.
  [[nodiscard]] Values row_of(int64_t t, int64_t head) const {
    const PagedBatch::Token token = batch.token(t);
    const double* query = q.data() + (t * num_heads + head) * kKey;
    Values absorbed = product(w_uk.data() + head * kLatent * kNope, query, kLatent, kNope);
    absorbed.insert(absorbed.end(), query + kNope, query + kKey);
    Values scores;
    for (int64_t j = 0; j < token.num_keys; ++j) {
      const double* key = cache.data() + batch.slot_of(token.sequence, j) * kWidth;
      scores.push_back(static_cast<double>(scale) * std::inner_product(key, key + kWidth, absorbed.begin(), 0.0));
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    Values attended(kLatent, 0.0);
    for (int64_t j = 0; j < token.num_keys; ++j) {
      const double weight = std::exp(scores[static_cast<size_t>(j)] - max);
      const double* key = cache.data() + batch.slot_of(token.sequence, j) * kWidth;
      for (size_t i = 0; i < kLatent; ++i) attended[i] += weight * key[i];
      sum += weight;
    }
    for (double& x : attended) x /= sum;
    return product(w_uv.data() + head * kValue * kLatent, attended.data(), kValue, kLatent);
  }
};

class MlaPrefill : public testing::Test {
 protected:
  void SetUp() override {
    if (!harness_->offers(&OpTable::mla_prefill)) GTEST_SKIP() << "this backend computes prompts in the absorbed form";
  }
  void expect_right(const PagedBatch& batch, int64_t num_heads, int skipped, int64_t max_keys) {
    harness_->for_each_variant(&OpTable::mla_prefill, [&] {
      for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
        SCOPED_TRACE(testing::Message() << name_of(dtype) << ' ' << batch.num_tokens << " x " << num_heads);
        const MlaPrefillProblem problem(batch, num_heads, dtype, harness_->activation());
        const int first = problem.num_decodes + skipped;
        const Values got = problem.run(*harness_, first, max_keys);
        const auto begin = static_cast<std::ptrdiff_t>(batch.starts[static_cast<size_t>(first)] * num_heads * kValue);
        expect_close(Values(got.begin() + begin, got.end()), problem.reference(first), kValue, harness_->activation());
        const auto is_touched = [](double x) { return std::abs(x + 12345.0) > 64; };
        EXPECT_TRUE(std::none_of(got.begin(), got.begin() + begin, is_touched)) << "rows of others";
      }
    });
  }

  std::unique_ptr<Harness> harness_ = make_harness();
};

TEST_F(MlaPrefill, of_whole_prompts_of_any_length) {
  for (const int64_t block : {16, 64}) {
    const std::vector<int64_t> lengths{block - 1, block, block + 1, 3 * block + 1};
    expect_right({lengths, lengths, block}, 2, 0, kRoomy);
  }
  // blocks of no power of two
  expect_right({{2, 79, 80, 81, 128, 129, 300}, {2, 79, 80, 81, 128, 129, 300}, 48}, 3, 0, kRoomy);
  expect_right({{161}, {161}, 64}, 20, 0, kRoomy);
}

TEST_F(MlaPrefill, of_chunks_behind_a_cached_prefix_beside_decoding_sequences) {
  expect_right({{200, 64, 7, 190, 230, 300}, {1, 1, 1, 5, 70, 150}, 64}, 2, 0, kRoomy);
  expect_right({{200, 190, 230}, {1, 5, 70}, 16}, 20, 1, kRoomy);   // the short one is left to others
  expect_right({{1500, 900}, {3, 65}, 64}, 1, 0, kRoomy);
}

TEST_F(MlaPrefill, in_pieces_of_the_cache) {
  expect_right({{700, 500, 90}, {30, 200, 90}, 64}, 2, 0, 160);
  expect_right({{410}, {330}, 64}, 2, 0, 80);   // blocks of rows that an early piece finishes
}

TEST_F(MlaPrefill, has_the_same_bits_in_pieces) {
  const MlaPrefillProblem problem({{700, 500, 90}, {30, 200, 90}, 64}, 2, DType::kBF16, harness_->activation());
  const Values want = problem.run(*harness_, 0, kRoomy);
  for (const int64_t max_keys : {80, 400, 720}) EXPECT_EQ(problem.run(*harness_, 0, max_keys), want) << max_keys;
}

TEST_F(MlaPrefill, survives_scores_that_only_a_running_maximum_can_hold) {
  MlaPrefillProblem problem({{400}, {130}, 64}, 2, DType::kBF16, harness_->activation());
  problem.scale = 20;   // scores of thousands
  for (const int64_t max_keys : {int64_t{80}, kRoomy})
    for (const double x : problem.run(*harness_, 0, max_keys)) ASSERT_LT(std::abs(x), 10.0);
}

TEST_F(MlaPrefill, is_chosen_for_long_pieces_of_prompts) {
  const MlaPrefillProblem problem({{90, 2000, 3000}, {1, 2, 1000}, 64}, 20, DType::kBF16, harness_->activation());
  AttentionMetadata metadata = problem.batch.metadata(*harness_, 0, problem.batch.num_tokens);
  metadata.workspace = harness_->attention_workspace(
      {.max_num_seqs = 3, .max_num_tokens = 2000, .max_model_len = 3000, .num_heads = 20, .num_kv_heads = 1,
       .key_dim = kWidth, .value_dim = kLatent, .nope_dim = kNope, .head_value_dim = kValue});
  const PackedWeight uk = harness_->pack(problem.w_uk, {kLatent}, kNope, 20, DType::kBF16, RowOrder::kPlain);
  const PackedWeight uv = harness_->pack(problem.w_uv, {kValue}, kLatent, 20, DType::kBF16, RowOrder::kPlain);
  const int64_t tokens = problem.batch.num_tokens;
  const MlaPrefillArgs args{
      .out = harness_->output({tokens, 20, kValue}), .q = harness_->activations(problem.q, {tokens, 20, kKey}),
      .scratch = harness_->output({tokens, 20, kWidth}),
      .cache = harness_->put(problem.cache, {problem.batch.num_blocks, 64, kWidth}, DType::kBF16), .w_uk = &uk,
      .w_uv = &uv, .metadata = &metadata, .scale = problem.scale};
  EXPECT_EQ(mla_first_prefill(harness_->context(), args), 2);   // not for two tokens
}

TEST(AttentionMetadata, has_parts_that_are_steps) {
  const auto harness = make_harness();
  const PagedBatch batch{{70, 129, 90, 40}, {1, 1, 11, 30}, 16};
  const AttentionMetadata step = batch.metadata(*harness, 0, batch.num_tokens);
  const AttentionMetadata front = part_of(step, 0, 3), back = part_of(step, 3, 4);
  EXPECT_EQ(std::pair(front.num_seqs, front.num_tokens), std::pair(3, 13));
  EXPECT_EQ(std::pair(front.num_decodes, std::ssize(front.chunks)), std::pair(2, std::ptrdiff_t{1}));
  EXPECT_EQ(std::pair(back.num_seqs, back.num_tokens), std::pair(1, 30));
  EXPECT_EQ(std::pair(back.num_decodes, back.chunks.front().num_queries), std::pair(0, 30));
  EXPECT_EQ(back.positions.data, step.positions.as<int32_t>() + 13);
  EXPECT_EQ(first_token_of(step, 1), 1);
  EXPECT_EQ(first_token_of(step, 4), step.num_tokens);
}

}  // namespace
}  // namespace gale
