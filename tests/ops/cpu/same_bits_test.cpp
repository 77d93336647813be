// The CPU's promise: a row has the same bits alone, in a batch, in chunks and on any number of threads.
#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "support/problems.h"

namespace gale {
namespace {

void expect_same_bits(int64_t num_rows, const RunRows& run) {
  Harness one(make_cpu_device(1), cpu_op_table());
  const Values want = run(one, 0, num_rows);
  const int64_t width = static_cast<int64_t>(want.size()) / num_rows;
  for (const int num_threads : {1, 2, 4}) {
    Harness harness(make_cpu_device(num_threads), cpu_op_table());
    for (const int64_t chunk : {num_rows, int64_t{9}, int64_t{3}, int64_t{1}}) {
      for (int64_t begin = 0; begin < num_rows; begin += chunk) {
        const int64_t end = std::min(begin + chunk, num_rows);
        ASSERT_EQ(run(harness, begin, end), slice_of(want, begin, end, width))
            << "rows " << begin << " … " << end - 1 << " on " << num_threads << " threads";
      }
    }
  }
}

template <class Problem>
void expect_same_bits(const Problem& problem, int64_t num_rows) {
  expect_same_bits(
      num_rows, [&problem](Harness& harness, int64_t begin, int64_t end) { return problem.run(harness, begin, end); });
}

PagedBatch mixed_batch() { return {{140, 9, 30}, {11, 1, 7}, 16}; }

TEST(SameBits, norms) {
  for (const auto kind : {NormProblem::Kind::kPlain, NormProblem::Kind::kAdd, NormProblem::Kind::kSandwich}) {
    expect_same_bits(NormProblem(kind, 19, 1030, DType::kF32), 19);
  }
}

TEST(SameBits, linear_with_bias_and_swiglu_in_every_weight_type) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    expect_same_bits(LinearProblem(LinearProblem::Kind::kPlain, 19, {200}, 129, dtype, DType::kF32), 19);
    expect_same_bits(LinearProblem(LinearProblem::Kind::kBias, 19, {70, 33}, 128, dtype, DType::kF32), 19);
    expect_same_bits(LinearProblem(LinearProblem::Kind::kSwiglu, 19, {75, 75}, 129, dtype, DType::kF32), 19);
  }
}

TEST(SameBits, head_linear) { expect_same_bits(HeadLinearProblem(19, 3, 50, 65, DType::kF32), 19); }

TEST(SameBits, attention) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    expect_same_bits(AttentionProblem(mixed_batch(), 4, 2, 80, 80, dtype, DType::kF32), 19);
    expect_same_bits(AttentionProblem(mixed_batch(), 3, 0, 576, 512, dtype, DType::kF32), 19);
  }
}

TEST(SameBits, cache_writes) {
  for (const auto kind : {WriteProblem::Kind::kQkv, WriteProblem::Kind::kQkvBiasNorm, WriteProblem::Kind::kMla,
                          WriteProblem::Kind::kMlaQuery}) {
    expect_same_bits(WriteProblem(kind, mixed_batch(), RopePairing::kHalfSplit, DType::kBF16, DType::kF32, {}), 19);
  }
}

TEST(SameBits, mixture_of_experts) {
  expect_same_bits(RouteProblem::make(19, 16, 4, true, DType::kF32), 19);
  for (const auto part : {ExpertsProblem::Part::kUp, ExpertsProblem::Part::kDown}) {
    expect_same_bits(ExpertsProblem(part, 19, 5, 4, 129, 90, random_ints(19 * 4, 3, 5), DType::kF32), 19);
  }
}

// Embedding, gather and the ops on logits: rows side by side in one tensor.
TEST(SameBits, lookups) {
  const Values table = random_values(30 * 77, 1, DType::kBF16);
  const std::vector<int> ids = random_ints(19, 2, 30);
  expect_same_bits(19, [&](Harness& harness, int64_t begin, int64_t end) {
    const Tensor out = harness.output({end - begin, 77}), again = harness.output({end - begin, 77});
    const Tensor wanted = harness.ints(std::vector<int>(ids.begin() + begin, ids.begin() + end), {end - begin});
    const Tensor rows = harness.put(table, {30, 77}, DType::kBF16);
    harness.call<EmbeddingArgs>(embedding, &OpTable::embedding, {.out = out, .ids = wanted, .table = rows});
    std::vector<int> order(static_cast<size_t>(end - begin));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    harness.call<GatherRowsArgs>(gather_rows, &OpTable::gather_rows,
                                 {.out = again, .in = out, .rows = harness.ints(order, {end - begin})});
    return harness.get(again);
  });
}

TEST(SameBits, logits) {
  constexpr int64_t kVocabulary = 3000;
  const Values all = random_values(19 * kVocabulary, 4, DType::kF32, 3.0);
  const std::vector<uint32_t> words(94, 0xfffffff0u);
  expect_same_bits(19, [&](Harness& harness, int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    const auto column = [&](double value, DType dtype) {
      return harness.put(Values(static_cast<size_t>(count), value), {count}, dtype);
    };
    std::vector<int> index(static_cast<size_t>(count));
    std::vector<int64_t> positions(index.size());
    std::vector<uint32_t> masks;
    for (size_t i = 0; i < index.size(); ++i) {
      index[i] = static_cast<int>(i);
      positions[i] = begin + static_cast<int64_t>(i);
      masks.insert(masks.end(), words.begin(), words.end());
    }
    const Tensor rows = harness.ints(index, {count}), token = column(7, DType::kI32), half = column(0.5, DType::kF32);
    const Tensor logits = harness.put(slice_of(all, begin, end, kVocabulary), {count, kVocabulary}, DType::kF32);
    harness.call<MaskLogitsArgs>(mask_logits, &OpTable::mask_logits,
                                 {.logits = logits, .num_valid_tokens = 2990,
                                  .masks = harness.ints(masks, {count, 94}, DType::kU32), .mask_rows = rows});
    harness.call<PenaltiesArgs>(apply_penalties, &OpTable::apply_penalties,
                                {.logits = logits,
                                 .rows = rows,
                                 .token_ids = token,
                                 .output_counts = column(2, DType::kI32),
                                 .repetition = column(1.1, DType::kF32),
                                 .frequency = half,
                                 .presence = half});
    harness.call<LogitBiasArgs>(apply_logit_bias, &OpTable::apply_logit_bias,
                                {.logits = logits, .rows = rows, .token_ids = token, .values = half});
    const Tensor drawn = harness.output({count}, DType::kI32), chosen = harness.output({count}, DType::kF32);
    const Tensor ranks = harness.output({count}, DType::kI32);
    harness.call<SampleArgs>(sample, &OpTable::sample,
                             {.token_ids = drawn, .logits = logits, .temperature = column(0.8, DType::kF32),
                              .top_p = column(0.9, DType::kF32), .min_p = column(0.01, DType::kF32),
                              .top_k = column(100, DType::kI32), .seeds = column(3, DType::kI64),
                              .positions = harness.ints(positions, {count}, DType::kI64)});
    harness.call<LogprobsArgs>(logprobs, &OpTable::logprobs,
                               {.logits = logits, .chosen = drawn, .chosen_logprobs = chosen, .chosen_ranks = ranks,
                                .top_ids = {}, .top_logprobs = {}});
    const Values ids = harness.get(drawn), values = harness.get(chosen), final_logits = harness.get(logits);
    Values result;
    for (int64_t i = 0; i < count; ++i) {
      result.push_back(ids[static_cast<size_t>(i)]);
      result.push_back(values[static_cast<size_t>(i)]);
      result.push_back(final_logits[static_cast<size_t>(i * kVocabulary + 7)]);
    }
    return result;
  });
}

}  // namespace
}  // namespace gale
