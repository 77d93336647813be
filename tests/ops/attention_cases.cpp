#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "support/problems.h"

namespace gale {

PagedBatch::PagedBatch(std::vector<int64_t> lens, std::vector<int64_t> queries, int64_t block_size)
    : seq_lens(std::move(lens)), query_lens(std::move(queries)), block_size(block_size) {
  std::vector<int> counts;
  for (const int64_t len : seq_lens) counts.push_back(static_cast<int>((len + block_size - 1) / block_size));
  for (const int count : counts) max_blocks = std::max<int64_t>(max_blocks, count);
  num_blocks = std::accumulate(counts.begin(), counts.end(), 1);       // one block is nobody's
  std::vector<int> order(static_cast<size_t>(num_blocks));
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(31);
  std::shuffle(order.begin(), order.end(), random);
  size_t next = 0;
  starts = {0};
  for (size_t s = 0; s < seq_lens.size(); ++s) {
    for (int64_t block = 0; block < max_blocks; ++block) block_tables.push_back(block < counts[s] ? order[next++] : -1);
    starts.push_back(starts.back() + static_cast<int>(query_lens[s]));
  }
  num_tokens = starts.back();
  for (int64_t t = 0; t < num_tokens; ++t) {
    slots.push_back(token(t).num_keys == 0 ? -1
                                           : slot_of(token(t).sequence, token(t).num_keys - 1));  // -1: a padded row
  }
  for (int axis = 0; axis < 3; ++axis) {
    for (int64_t t = 0; t < num_tokens; ++t) positions.push_back(static_cast<int>(token(t).num_keys - 1) + 5 * axis);
  }
}

int64_t PagedBatch::slot_of(int64_t sequence, int64_t position) const {
  const int block = block_tables[static_cast<size_t>(sequence * max_blocks + position / block_size)];
  return block * block_size + position % block_size;
}

PagedBatch::Token PagedBatch::token(int64_t index) const {
  int64_t s = 0;
  while (starts[static_cast<size_t>(s) + 1] <= index) ++s;
  const auto at = static_cast<size_t>(s);
  return {s, seq_lens[at] - (starts[at + 1] - index - 1)};
}

AttentionMetadata PagedBatch::metadata(Harness& harness, int64_t begin, int64_t end) const {
  std::vector<int> step_starts{0}, step_lens, step_tables, step_positions;
  std::vector<PromptChunk> chunks;
  AttentionMetadata step;
  for (size_t s = 0; s < seq_lens.size(); ++s) {
    const int64_t first = std::max<int64_t>(begin, starts[s]), last = std::min<int64_t>(end, starts[s + 1]);
    if (first >= last) continue;
    step_starts.push_back(step_starts.back() + static_cast<int>(last - first));
    step_lens.push_back(static_cast<int>(token(last - 1).num_keys));
    const auto row = block_tables.begin() + static_cast<int64_t>(s) * max_blocks;
    step_tables.insert(step_tables.end(), row, row + max_blocks);
    if (last - first == 1 && step.num_decodes + 1 == static_cast<int>(step_lens.size())) {
      ++step.num_decodes;
    } else {
      chunks.push_back({static_cast<int>(last - first), step_lens.back()});
    }
    step.max_query_len = std::max(step.max_query_len, static_cast<int>(last - first));
    step.max_seq_len = std::max(step.max_seq_len, step_lens.back());
  }
  for (int64_t axis = 0; axis < 3; ++axis) {
    const auto row = positions.begin() + axis * num_tokens;
    step_positions.insert(step_positions.end(), row + begin, row + end);
  }
  step.chunks = harness.keep(std::move(chunks));
  const auto num_seqs = static_cast<int64_t>(step_lens.size());
  step.num_seqs = static_cast<int>(num_seqs);
  step.num_tokens = static_cast<int>(end - begin);
  step.block_size = static_cast<int>(block_size);
  step.query_start_loc = harness.ints(step_starts, {num_seqs + 1});
  step.seq_lens = harness.ints(step_lens, {num_seqs});
  step.block_tables = harness.ints(step_tables, {num_seqs, max_blocks});
  step.positions = harness.ints(step_positions, {3, end - begin});
  step.slot_mapping =
      harness.ints(std::vector<int64_t>(slots.begin() + begin, slots.begin() + end), {end - begin}, DType::kI64);
  return step;
}

AttentionProblem::AttentionProblem(PagedBatch pages, int64_t num_heads, int64_t num_kv_heads, int64_t key_size,
                                   int64_t value_size, DType cache_dtype, DType dtype)
    : batch(std::move(pages)),
      num_heads(num_heads),
      num_kv_heads(num_kv_heads),
      key_size(key_size),
      value_size(value_size),
      cache_dtype(cache_dtype),
      scale(1 / std::sqrt(static_cast<float>(key_size))) {
  const int64_t cache_size = batch.num_blocks * batch.block_size * std::max<int64_t>(1, num_kv_heads) * key_size;
  q = random_values(batch.num_tokens * num_heads * key_size, 32, dtype, 2.0);
  k_cache = random_values(cache_size, 33, cache_dtype);
  v_cache = is_mla() ? k_cache : random_values(cache_size, 34, cache_dtype);
}

size_t AttentionProblem::cache_offset(int64_t slot, int64_t kv_head) const {
  const int64_t heads = std::max<int64_t>(1, num_kv_heads), block = slot / batch.block_size,
                offset = slot % batch.block_size;
  return static_cast<size_t>(((block * heads + kv_head) * batch.block_size + offset) * key_size);
}

Values AttentionProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  AttentionMetadata metadata = batch.metadata(harness, begin, end);
  metadata.workspace = harness.attention_workspace(
      {.max_num_seqs = metadata.num_seqs, .max_num_tokens = metadata.num_tokens, .max_model_len = metadata.max_seq_len,
       .num_heads = static_cast<int>(num_heads), .num_kv_heads = is_mla() ? 1 : static_cast<int>(num_kv_heads),
       .key_dim = static_cast<int>(key_size), .value_dim = static_cast<int>(value_size),
       .nope_dim = has_room_for_prompts ? 192 : 0, .head_value_dim = has_room_for_prompts ? 256 : 0,
       .cache_dtype = cache_dtype});
  const Tensor query =
      harness.activations(slice_of(q, begin, end, num_heads * key_size), {end - begin, num_heads, key_size});
  const Tensor out = harness.output({end - begin, num_heads, value_size});
  if (is_mla()) {
    const Tensor cache = harness.put(k_cache, {batch.num_blocks, batch.block_size, key_size}, cache_dtype);
    harness.call<MlaAttentionArgs>(mla_attention, &OpTable::mla_attention,
                                   {.out = out, .q = query, .cache = cache, .metadata = &metadata, .scale = scale});
  } else {
    const Shape shape{batch.num_blocks, num_kv_heads, batch.block_size, key_size};
    harness.call<PagedAttentionArgs>(paged_attention, &OpTable::paged_attention,
                                     {.out = out,
                                      .q = query,
                                      .k_cache = harness.put(k_cache, shape, cache_dtype),
                                      .v_cache = harness.put(v_cache, shape, cache_dtype),
                                      .metadata = &metadata,
                                      .scale = scale});
  }
  return harness.get(out);
}

Values AttentionProblem::reference() const {
  Values rows;
  for (int64_t item = 0; item < batch.num_tokens * num_heads; ++item) {
    const PagedBatch::Token token = batch.token(item / num_heads);
    const int64_t kv_head = is_mla() ? 0 : item % num_heads / (num_heads / num_kv_heads);
    const double* query = q.data() + item * key_size;
    Values scores;
    for (int64_t j = 0; j < token.num_keys; ++j) {
      const double* key = k_cache.data() + cache_offset(batch.slot_of(token.sequence, j), kv_head);
      scores.push_back(static_cast<double>(scale) * std::inner_product(key, key + key_size, query, 0.0));
    }
    if (scores.empty()) {   // a padded row
      rows.resize(rows.size() + static_cast<size_t>(value_size));
      continue;
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    Values out(static_cast<size_t>(value_size), 0.0);
    for (int64_t j = 0; j < token.num_keys; ++j) {
      const double weight = std::exp(scores[static_cast<size_t>(j)] - max);
      const double* value = v_cache.data() + cache_offset(batch.slot_of(token.sequence, j), kv_head);
      for (int64_t i = 0; i < value_size; ++i) out[static_cast<size_t>(i)] += weight * value[i];
      sum += weight;
    }
    for (const double x : out) rows.push_back(x / sum);
  }
  return rows;
}

namespace {

// Decode, prefill, chunks; one token, whole blocks, three blocks and one, more than one stretch of keys; decode beside
// prefill.
std::vector<PagedBatch> batches(int64_t block_size) {
  const int64_t b = block_size;
  return {{{1}, {1}, b},
          {{b, 3 * b + 1, 1, 300}, {1, 1, 1, 1}, b},
          {{b - 1, b, b + 1, 3 * b + 1}, {b - 1, b, b + 1, 3 * b + 1}, b},
          {{150, 7, 40}, {20, 1, 40}, b},
          {{200, 64, 7, 230, 3 * b + 1, 9}, {1, 1, 1, 70, 5, 9}, b}};
}

void expect_attention(Harness& harness, const PagedBatch& batch, int64_t heads, int64_t kv_heads, int64_t key,
                      int64_t value) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF8E4M3}) {
    const bool is_cpu = harness.activation() == DType::kF32;
    if (dtype == (is_cpu ? DType::kF8E4M3 : DType::kF32)) continue;   // f32 caches are the CPU's, FP8 caches CUDA's
    SCOPED_TRACE(testing::Message() << name_of(dtype) << " cache, " << batch.num_tokens << " tokens, " << heads
                                    << " heads");
    const AttentionProblem problem(batch, heads, kv_heads, key, value, dtype, harness.activation());
    expect_close(problem.run(harness, 0, batch.num_tokens), problem.reference(), value, harness.activation());
  }
}

TEST(PagedAttention, sees_the_past_of_its_sequence_through_shuffled_blocks) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::paged_attention, [&] {
    for (const int64_t block_size : {16, 64}) {
      for (const PagedBatch& batch : batches(block_size)) {
        expect_attention(*harness, batch, 4, 2, 128, 128);
        expect_attention(*harness, batch, 3, 1, 64, 64);
      }
    }
  });
}

TEST(PagedAttention, of_every_size_of_group) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::paged_attention, [&] {
    const PagedBatch batch{{70, 129, 90}, {1, 1, 11}, 48};   // blocks of no power of two
    for (const int64_t group : {1, 8, 12, 16, 20, 33}) expect_attention(*harness, batch, 2 * group, 2, 128, 128);
    expect_attention(*harness, batch, 2, 1, 256, 256);
  });
}

// Several blocks of rows and tiles of keys a sequence; whole prompts and pieces behind a prefix, beside single tokens.
TEST(PagedAttention, of_long_prompts) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::paged_attention, [&] {
    expect_attention(*harness, {{90, 170, 330, 200}, {1, 3, 40, 200}, 64}, 12, 1, 128, 128);
    expect_attention(*harness, {{300, 385}, {17, 129}, 16}, 4, 2, 128, 128);
    expect_attention(*harness, {{300, 64, 129, 700, 1030}, {1, 64, 65, 130, 257}, 64}, 16, 2, 128, 128);
  });
}

// Keys that several blocks share: of one sequence, of two in a step, and where the first queries do not see them all.
TEST(PagedAttention, of_few_queries_over_many_keys) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::paged_attention, [&] {
    expect_attention(*harness, {{5000}, {70}, 64}, 8, 2, 128, 128);
    expect_attention(*harness, {{600, 2500, 3100}, {1, 130, 64}, 64}, 4, 2, 128, 128);
    expect_attention(*harness, {{2100}, {1500}, 64}, 4, 1, 128, 128);
  });
}

TEST(MlaAttention, reads_latents_as_keys_and_values) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mla_attention, [&] {
    for (const int64_t block_size : {16, 64}) {
      for (const PagedBatch& batch : batches(block_size)) expect_attention(*harness, batch, 3, 0, 576, 512);
    }
    for (const int64_t heads : {1, 2, 20, 25})
      expect_attention(*harness, {{70, 129, 90}, {1, 1, 11}, 48}, heads, 0, 576, 512);
  });
}

// With room for them a backend may take chunks another way: several rows of blocks, keys that several blocks share,
// chunks too short for it, heads that fill no block.
TEST(MlaAttention, of_chunks_of_prompts_beside_others) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mla_attention, [&] {
    for (const int64_t heads : {3, 20}) {
      for (const PagedBatch& batch :
           {PagedBatch{{90, 70, 700, 2100}, {1, 2, 70, 9}, 64}, PagedBatch{{130}, {130}, 64}}) {
        const DType short_dtype = heads == 3 ? DType::kBF16 : DType::kF8E4M3;
        const DType dtype = harness->activation() == DType::kF32 ? DType::kF32 : short_dtype;
        AttentionProblem problem(batch, heads, 0, 576, 512, dtype, harness->activation());
        problem.has_room_for_prompts = true;
        SCOPED_TRACE(testing::Message() << name_of(dtype) << " cache, " << heads << " heads, " << batch.num_tokens);
        expect_close(problem.run(*harness, 0, batch.num_tokens), problem.reference(), 512, harness->activation());
      }
    }
  });
}

// A long sequence among short ones is cut into many pieces, more than are combined in one go; rows that only pad a
// batch have no keys, and their block tables point nowhere.
TEST(Attention, of_long_sequences_beside_short_ones_and_padding) {
  const auto harness = make_harness();
  const PagedBatch batch{{3000, 1, 0, 700, 0}, {1, 1, 1, 1, 1}, 64};
  harness->for_each_variant(&OpTable::paged_attention, [&] { expect_attention(*harness, batch, 16, 1, 128, 128); });
  harness->for_each_variant(&OpTable::mla_attention, [&] { expect_attention(*harness, batch, 20, 0, 576, 512); });
}

TEST(Attention, leaves_its_workspace_as_the_next_call_needs_it) {
  const auto harness = make_harness();
  const AttentionProblem problem({{1000, 300}, {1, 1}, 64}, 16, 1, 128, 128, DType::kBF16, harness->activation());
  const Values first = problem.run(*harness, 0, 2);
  AttentionMetadata metadata = problem.batch.metadata(*harness, 0, 2);
  metadata.workspace = harness->attention_workspace({.max_num_seqs = 2,
                                                     .max_num_tokens = 2,
                                                     .max_model_len = 1000,
                                                     .num_heads = 16,
                                                     .num_kv_heads = 1,
                                                     .key_dim = 128,
                                                     .value_dim = 128});
  const Shape shape{problem.batch.num_blocks, 1, 64, 128};
  const Tensor q = harness->activations(problem.q, {2, 16, 128}),
               k = harness->put(problem.k_cache, shape, DType::kBF16);
  const Tensor v = harness->put(problem.v_cache, shape, DType::kBF16);
  for (int round = 0; round < 3; ++round) {
    const Tensor out = harness->output({2, 16, 128});
    harness->call<PagedAttentionArgs>(
        paged_attention, &OpTable::paged_attention,
        {.out = out, .q = q, .k_cache = k, .v_cache = v, .metadata = &metadata, .scale = problem.scale});
    EXPECT_EQ(harness->get(out), first);   // the same bits: who comes last does not matter
  }
}

TEST(MlaAttention, gives_the_same_bits_whoever_comes_last) {
  const auto harness = make_harness();
  const PagedBatch batch{{1000, 300, 70}, {1, 1, 1}, 64};
  const AttentionProblem problem(batch, 20, 0, 576, 512, DType::kBF16, harness->activation());
  AttentionMetadata metadata = problem.batch.metadata(*harness, 0, 3);
  metadata.workspace =
      harness->attention_workspace({.max_num_seqs = 3, .max_num_tokens = 3, .max_model_len = 1000, .num_heads = 20,
                                    .num_kv_heads = 1, .key_dim = 576, .value_dim = 512});
  const Tensor q = harness->activations(problem.q, {3, 20, 576});
  const Tensor cache = harness->put(problem.k_cache, {problem.batch.num_blocks, 64, 576}, DType::kBF16);
  const Values first = problem.run(*harness, 0, 3);
  for (int round = 0; round < 3; ++round) {
    const Tensor out = harness->output({3, 20, 512});
    harness->call<MlaAttentionArgs>(
        mla_attention, &OpTable::mla_attention,
        {.out = out, .q = q, .cache = cache, .metadata = &metadata, .scale = problem.scale});
    EXPECT_EQ(harness->get(out), first);
  }
}

TEST(MlaAttention, survives_scores_that_only_a_running_maximum_can_hold) {
  const auto harness = make_harness();
  for (const int64_t num_queries : {1, 3}) {
    AttentionProblem problem({{400}, {num_queries}, 16}, 2, 0, 576, 512, DType::kBF16, harness->activation());
    problem.scale = 20;   // scores of thousands
    expect_close(problem.run(*harness, 0, num_queries), problem.reference(), 512, harness->activation());
  }
}

// A backend may scale a query's head by what is in it: heads of nothing, of next to nothing, with one large element.
TEST(MlaAttention, of_queries_of_any_size) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mla_attention, [&] {
    for (const DType cache : {DType::kBF16, DType::kF8E4M3}) {
      const DType dtype = harness->activation() == DType::kF32 ? DType::kF32 : cache;
      AttentionProblem problem({{200, 65}, {1, 1}, 64}, 20, 0, 576, 512, dtype, harness->activation());
      constexpr float kSizes[] = {1, 0, 0x1p-60f, 0x1p-20f, 2};
      for (size_t i = 0; i < problem.q.size(); ++i) {
        const size_t head = i / 576 % 20;
        problem.q[i] *= kSizes[head % 5];
        if (head % 5 == 4 && i % 576 == 570) problem.q[i] = 64;
      }
      SCOPED_TRACE(testing::Message() << name_of(dtype) << " cache");
      expect_close(problem.run(*harness, 0, 2), problem.reference(), 512, harness->activation());
    }
  });
}

TEST(PagedAttention, of_no_tokens_is_legal) {
  const auto harness = make_harness();
  const AttentionProblem problem({{5}, {2}, 16}, 4, 2, 64, 64, DType::kBF16, harness->activation());
  EXPECT_TRUE(problem.run(*harness, 0, 0).empty());
}

}  // namespace
}  // namespace gale
