// A NaN stays in its row: what one request's numbers do, and what a finished request left in the cache, is nobody
// else's trouble.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "support/problems.h"

namespace gale {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void spoil_row(Values& values, int64_t row, int64_t width) {
  std::fill(values.begin() + row * width, values.begin() + (row + 1) * width, kNan);
}

// Every place of the cache that no sequence has written, as blocks of failed requests leave them.
void spoil_unused(AttentionProblem& problem) {
  const PagedBatch& batch = problem.batch;
  std::set<int64_t> used;
  for (size_t s = 0; s < batch.seq_lens.size(); ++s)
    for (int64_t j = 0; j < batch.seq_lens[s]; ++j) used.insert(batch.slot_of(static_cast<int64_t>(s), j));
  const int64_t heads = std::max<int64_t>(1, problem.num_kv_heads), size = problem.key_size;
  for (int64_t slot = 0; slot < batch.num_blocks * batch.block_size; ++slot) {
    if (used.contains(slot)) continue;
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t row = (slot / batch.block_size * heads + head) * batch.block_size + slot % batch.block_size;
      spoil_row(problem.k_cache, row, size);
      spoil_row(problem.v_cache, row, size);
    }
  }
}

// The key cache behind `position` of one sequence is spoiled, and with it that sequence alone.
void spoil_sequence(AttentionProblem& problem, int64_t sequence, int64_t position) {
  const int64_t heads = std::max<int64_t>(1, problem.num_kv_heads), slot = problem.batch.slot_of(sequence, position);
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t row =
        (slot / problem.batch.block_size * heads + head) * problem.batch.block_size + slot % problem.batch.block_size;
    spoil_row(problem.k_cache, row, problem.key_size);
    spoil_row(problem.v_cache, row, problem.key_size);
  }
}

std::vector<PagedBatch> batches(int64_t b) {
  return {{{1}, {1}, b},
          {{b + 1, 3 * b + 1, 2, 300}, {1, 1, 1, 1}, b},
          {{b - 1, b + 1, 3 * b + 1}, {b - 1, b + 1, 3 * b + 1}, b},
          {{70, 5, 3 * b + 5}, {1, 1, b + 3}, b}};
}

struct Form {
  int64_t heads, kv_heads, key, value;
};
constexpr Form kForms[] = {{8, 2, 128, 128}, {16, 1, 128, 128}, {6, 3, 40, 40}, {20, 0, 576, 512}, {3, 0, 26, 20}};

std::vector<DType> cache_types(Harness& harness) {
  if (harness.activation() == DType::kF32) return {DType::kF32, DType::kBF16};
  return {DType::kBF16, DType::kF8E4M3};
}

// body(harness, problem, what it gives without a NaN) for every form, cache, batch and implementation.
template <class F>
void for_each_attention(F&& body) {
  const auto harness = make_harness();
  for (const Form& form : kForms) {
    for (const DType cache : cache_types(*harness)) {
      for (const PagedBatch& batch : batches(harness->activation() == DType::kF32 ? 16 : 64)) {
        const AttentionProblem problem(batch, form.heads, form.kv_heads, form.key, form.value, cache,
                                       harness->activation());
        const Values want = problem.reference();
        SCOPED_TRACE(testing::Message() << form.heads << " heads, " << name_of(cache) << ", " << batch.num_tokens
                                        << " tokens");
        const auto check = [&] { body(*harness, problem, want); };
        if (problem.is_mla()) {
          harness->for_each_variant(&OpTable::mla_attention, check);
        } else {
          harness->for_each_variant(&OpTable::paged_attention, check);
        }
      }
    }
  }
}

TEST(Nan, in_places_of_the_cache_that_are_not_written_yet_is_never_read) {
  for_each_attention([](Harness& harness, AttentionProblem problem, const Values& want) {
    spoil_unused(problem);
    expect_close(problem.run(harness, 0, problem.batch.num_tokens), want, problem.value_size, harness.activation());
  });
}

TEST(Nan, in_one_sequence_spoils_no_other_and_does_not_hide) {
  for_each_attention([](Harness& harness, AttentionProblem problem, const Values& want) {
    const auto num_seqs = static_cast<int64_t>(problem.batch.seq_lens.size());
    const int64_t victim = num_seqs / 2, width = problem.num_heads * problem.value_size;
    if (num_seqs == 1) return;
    spoil_sequence(problem, victim, 0);   // its first token, which all its queries see
    const Values got = problem.run(harness, 0, problem.batch.num_tokens);
    int64_t num_hidden = 0;
    for (int64_t t = 0; t < problem.batch.num_tokens; ++t) {
      const Values row = slice_of(got, t, t + 1, width);
      if (problem.batch.token(t).sequence == victim) {
        num_hidden += std::any_of(row.begin(), row.end(), [](double x) { return std::isnan(x); }) ? 0 : 1;
      } else {
        expect_close(row, slice_of(want, t, t + 1, width), problem.value_size, harness.activation());
      }
    }
    // An FP8 cache is widened by shifting bits, which makes a large number of its NaN.
    if (problem.cache_dtype != DType::kF8E4M3) {
      EXPECT_EQ(num_hidden, 0);
    }
  });
}

TEST(Nan, in_a_token_gets_it_experts_that_exist_and_leaves_the_others_choices) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::moe_route, [&] {
    for (const int64_t num_tokens : {1, 3, 17, 200}) {
      for (const int num_groups : {1, 4}) {
        RouteProblem problem = RouteProblem::make(num_tokens, 64, num_groups, true, harness->activation());
        const Values want = problem.reference();
        const int64_t victim = num_tokens / 2, row = 2 * problem.num_chosen;
        spoil_row(problem.in, victim, problem.width);
        const Values got = problem.run(*harness, 0, num_tokens);  // checks the sorted rows, too
        for (int64_t t = 0; t < num_tokens; ++t) {
          const Values ids = slice_of(got, t, t + 1, row);
          if (t != victim) {
            const Values expected = slice_of(want, t, t + 1, row);
            EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + problem.num_chosen, expected.begin())) << "token " << t;
            continue;
          }
          const std::set<double> distinct(ids.begin(), ids.begin() + problem.num_chosen);
          EXPECT_EQ(static_cast<int64_t>(distinct.size()), problem.num_chosen);
          EXPECT_GE(*distinct.begin(), 0);
          EXPECT_LE(*distinct.rbegin(), problem.num_experts);
        }
      }
    }
  });
}

// Rows of a product do not touch: the victim's row is all NaN, the others are as without it.
template <class Problem>
void expect_rows_apart(Harness& harness, Problem problem, int64_t in_width, int64_t out_width) {
  const Values want = problem.run(harness, 0, problem.num_tokens);
  const int64_t victim = problem.num_tokens / 2;
  spoil_row(problem.in, victim, in_width);
  const Values got = problem.run(harness, 0, problem.num_tokens);
  for (int64_t t = 0; t < problem.num_tokens; ++t) {
    const Values row = slice_of(got, t, t + 1, out_width);
    if (t == victim) {
      EXPECT_TRUE(std::all_of(row.begin(), row.end(), [](double x) { return std::isnan(x); })) << "row " << t;
    } else {
      expect_close(row, slice_of(want, t, t + 1, out_width), out_width, harness.activation());
    }
  }
}

TEST(Nan, in_a_row_of_a_product_stays_there) {
  const auto harness = make_harness();
  const DType dtype = harness->activation();
  const DType weight = dtype == DType::kF32 ? DType::kF32 : DType::kBF16;
  harness->for_each_variant(&OpTable::linear, [&] {
    for (const int64_t num_tokens : {2, 9, 70, 300})
      expect_rows_apart(*harness, LinearProblem(LinearProblem::Kind::kPlain, num_tokens, {256}, 512, weight, dtype),
                        512, 256);
  });
  harness->for_each_variant(&OpTable::moe_up, [&] {
    for (const int64_t num_tokens : {2, 9, 70}) {
      std::vector<int> ids;
      for (int64_t t = 0; t < num_tokens; ++t)
        ids.insert(ids.end(), {static_cast<int>(t % 5), static_cast<int>(5 + t % 3)});
      const ExpertsProblem problem(ExpertsProblem::Part::kUp, num_tokens, 8, 2, 256, 128, ids, dtype);
      expect_rows_apart(*harness, problem, 256, problem.row_width());
    }
  });
}

TEST(Nan, leaves_a_row_without_a_draw_and_the_logprobs_of_the_others) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::logprobs, [&] {
    const Tensor out = harness->output({3}, DType::kF32), ranks = harness->output({3}, DType::kI32);
    const Tensor ids = harness->output({3, 2}, DType::kI32), tops = harness->output({3, 2}, DType::kF32);
    const Values logits = {kNan, kNan, kNan, 0, 1, 2, kNan, 5, kNan};
    harness->call<LogprobsArgs>(logprobs, &OpTable::logprobs,
                                {.logits = harness->put(logits, {3, 3}, DType::kF32),
                                 .chosen = harness->ints<int>({-1, 1, -1}, {3}),
                                 .chosen_logprobs = out,
                                 .chosen_ranks = ranks,
                                 .top_ids = ids,
                                 .top_logprobs = tops});
    EXPECT_NEAR(harness->get(out)[1], -1.407606, 1e-5);
    EXPECT_EQ(harness->get(ranks)[1], 2);
    EXPECT_EQ(slice_of(harness->get(ids), 1, 2, 2), (Values{2, 1}));
  });
}

}  // namespace
}  // namespace gale
