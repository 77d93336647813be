#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "support/problems.h"

namespace gale {

RouteProblem RouteProblem::make(int64_t num_tokens, int64_t num_experts, int num_groups, bool has_shared, DType dtype,
                                int64_t width) {
  return {.num_tokens = num_tokens, .num_experts = num_experts, .width = width, .num_chosen = 3 + (has_shared ? 1 : 0),
          .num_groups = num_groups, .top_k_groups = std::max(1, num_groups / 2), .has_shared = has_shared,
          .renormalize = has_shared, .in = random_values(num_tokens * width, 51, dtype, 0.3),
          .gate = random_values(num_experts * width, 52, DType::kF32, 0.3),
          .bias = random_values(num_experts, 53, DType::kF32, 0.1)};
}

namespace {

// Rows by expert, each once; a backend that has no use for the order leaves both tensors alone.
void expect_sorted(const Values& ids, const Values& sorted, const Values& offsets) {
  if (sorted[0] == -12345.0) return;
  Values seen;
  ASSERT_EQ(offsets.front(), 0.0);
  ASSERT_EQ(offsets.back(), static_cast<double>(ids.size()));
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    ASSERT_LE(offsets[e], offsets[e + 1]);
    for (auto i = static_cast<size_t>(offsets[e]); i < static_cast<size_t>(offsets[e + 1]); ++i) {
      ASSERT_EQ(ids[static_cast<size_t>(sorted[i])], static_cast<double>(e));
      seen.push_back(sorted[i]);
    }
  }
  std::sort(seen.begin(), seen.end());
  for (size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], static_cast<double>(i));
}

struct SortedRows { Tensor rows, offsets; };

SortedRows sort_rows(Harness& harness, const std::vector<int>& ids, int64_t num_experts) {
  std::vector<int> rows(ids.size()), offsets(static_cast<size_t>(num_experts) + 1, 0);
  std::iota(rows.begin(), rows.end(), 0);
  std::stable_sort(rows.begin(), rows.end(),
                   [&ids](int a, int b) { return ids[static_cast<size_t>(a)] < ids[static_cast<size_t>(b)]; });
  for (const int id : ids) ++offsets[static_cast<size_t>(id) + 1];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  return {harness.ints(rows, {static_cast<int64_t>(rows.size())}), harness.ints(offsets, {num_experts + 1})};
}

}  // namespace

Values RouteProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  const Tensor ids = harness.output({count, num_chosen}, DType::kI32),
               weights = harness.output({count, num_chosen}, DType::kF32);
  MoeRouteArgs args{.expert_ids = ids, .expert_weights = weights,
                    .in = harness.activations(slice_of(in, begin, end, width), {count, width}),
                    .gate_weight = harness.put(gate, {num_experts, width}, DType::kF32),
                    .correction_bias = harness.put(bias, {num_experts}, DType::kF32)};
  args.num_groups = num_groups;
  args.top_k_groups = top_k_groups;
  args.renormalize = renormalize;
  args.scale = 1.8f;
  args.has_shared = has_shared;
  const int64_t num_matrices = num_experts + (has_shared ? 1 : 0);
  args.sorted_rows = harness.output({count * num_chosen}, DType::kI32);
  args.expert_offsets = harness.output({num_matrices + 1}, DType::kI32);
  harness.call<MoeRouteArgs>(moe_route, &OpTable::moe_route, args);
  const Values chosen = harness.get(ids), factors = harness.get(weights);
  if (count > 0) expect_sorted(chosen, harness.get(args.sorted_rows), harness.get(args.expert_offsets));
  Values rows;
  for (int64_t t = 0; t < count; ++t) {
    rows.insert(rows.end(), chosen.begin() + t * num_chosen, chosen.begin() + (t + 1) * num_chosen);
    rows.insert(rows.end(), factors.begin() + t * num_chosen, factors.begin() + (t + 1) * num_chosen);
  }
  return rows;
}

namespace {

// Indices by falling value, lower index first on ties.
std::vector<size_t> falling(const Values& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&values](size_t a, size_t b) { return values[a] > values[b]; });
  return order;
}

}  // namespace

Values RouteProblem::reference() const {
  Values rows;
  for (int64_t t = 0; t < num_tokens; ++t) {
    Values scores = product(gate.data(), in.data() + t * width, num_experts, width), biased;
    for (size_t e = 0; e < scores.size(); ++e) {
      scores[e] = 1 / (1 + std::exp(-scores[e]));
      biased.push_back(scores[e] + bias[e]);
    }
    const size_t group_size = scores.size() / static_cast<size_t>(num_groups);
    Values groups;
    for (int group = 0; group < num_groups; ++group) {
      const auto first = biased.begin() + static_cast<int64_t>(static_cast<size_t>(group) * group_size);
      Values members(first, first + static_cast<int64_t>(group_size));
      std::sort(members.rbegin(), members.rend());
      groups.push_back(members[0] + members[1]);
    }
    const std::vector<size_t> best_groups = falling(groups);
    for (size_t rank = static_cast<size_t>(top_k_groups); rank < best_groups.size(); ++rank) {
      for (size_t i = 0; i < group_size; ++i) biased[best_groups[rank] * group_size + i] = -1e9;
    }
    const std::vector<size_t> best = falling(biased);
    Values ids, weights;
    double sum = 0;
    for (int64_t k = 0; k < num_chosen - (has_shared ? 1 : 0); ++k) {
      ids.push_back(static_cast<double>(best[static_cast<size_t>(k)]));
      weights.push_back(scores[best[static_cast<size_t>(k)]]);
      sum += weights.back();
    }
    for (double& weight : weights) weight *= 1.8 / (renormalize ? sum + 1e-20 : 1.0);
    if (has_shared) {
      ids.push_back(static_cast<double>(num_experts));
      weights.push_back(1);
    }
    rows.insert(rows.end(), ids.begin(), ids.end());
    rows.insert(rows.end(), weights.begin(), weights.end());
  }
  return rows;
}

ExpertsProblem::ExpertsProblem(Part part, int64_t num_tokens, int64_t num_experts, int64_t num_chosen, int64_t hidden,
                               int64_t inner, std::vector<int> chosen, DType dtype, WeightFormat format)
    : part(part),
      format(format),
      out_dtype(dtype),
      num_tokens(num_tokens),
      num_experts(num_experts),
      num_chosen(num_chosen),
      hidden(hidden),
      inner(inner),
      ids(std::move(chosen)),
      in(random_values(num_tokens * (part == Part::kUp ? hidden : num_chosen * inner), 61, dtype)),
      weight(random_values(num_experts * hidden * inner * (part == Part::kUp ? 2 : 1), 62, DType::kBF16, 0.2)),
      expert_weights(random_values(num_tokens * num_chosen, 63, DType::kF32)) {}

// Scratch for rows like these.
static Tensor like(Harness& harness, const Tensor& in, const Shape& shape) {
  return in.scales == nullptr ? harness.output(shape, in.dtype) : harness.quantized_output(shape);
}

Values ExpertsProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  return part == Part::kUp ? run_up(harness, begin, end) : run_down(harness, begin, end);
}

Values ExpertsProblem::run_up(Harness& harness, int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  const std::vector<int> own(ids.begin() + begin * num_chosen, ids.begin() + end * num_chosen);
  const SortedRows sorted = sort_rows(harness, own, num_experts);
  const Values rows = slice_of(in, begin, end, hidden);
  const Tensor x = format == WeightFormat::kAsIs ? harness.activations(rows, {count, hidden})
                                                 : harness.quantized(rows, {count, hidden});
  const PackedWeight packed =
      harness.pack(weight, {inner, inner}, hidden, num_experts, DType::kBF16, RowOrder::kGateUp, format);
  const Shape shape{count, num_chosen, inner};
  const Tensor out = out_dtype == DType::kF8E4M3 ? harness.quantized_output(shape) : harness.output(shape);
  harness.call<MoeUpArgs>(moe_up, &OpTable::moe_up,
                          {.out = out, .in = x, .weight = &packed, .expert_ids = harness.ints(own, {count, num_chosen}),
                           .scratch = harness.output({count * num_chosen, 2 * inner}), .sorted_rows = sorted.rows,
                           .expert_offsets = sorted.offsets,
                           .by_expert = like(harness, x, {count * num_chosen, hidden})});
  return harness.get(out);
}

Values ExpertsProblem::run_down(Harness& harness, int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  const std::vector<int> own(ids.begin() + begin * num_chosen, ids.begin() + end * num_chosen);
  const SortedRows sorted = sort_rows(harness, own, num_experts);
  const Values rows = slice_of(in, begin, end, num_chosen * inner);
  const Shape shape{count, num_chosen, inner};
  const Tensor x = format == WeightFormat::kAsIs ? harness.activations(rows, shape) : harness.quantized(rows, shape);
  const PackedWeight packed =
      harness.pack(weight, {hidden}, inner, num_experts, DType::kBF16, RowOrder::kPlain, format);
  const Tensor out = harness.output({count, hidden});
  harness.call<MoeDownCombineArgs>(moe_down_combine, &OpTable::moe_down_combine,
                                   {.out = out,
                                    .in = x,
                                    .weight = &packed,
                                    .expert_ids = harness.ints(own, {count, num_chosen}),
                                    .expert_weights = harness.put(slice_of(expert_weights, begin, end, num_chosen),
                                                                  {count, num_chosen}, DType::kF32),
                                    .scratch = harness.output({count * num_chosen, hidden}),
                                    .sorted_rows = sorted.rows,
                                    .expert_offsets = sorted.offsets,
                                    .by_expert = like(harness, x, {count * num_chosen, inner})});
  return harness.get(out);
}

Values ExpertsProblem::reference() const {
  Values rows;
  const bool is_quantized = format != WeightFormat::kAsIs;
  const int64_t num_cols = part == Part::kUp ? hidden : inner;
  const Values w = is_quantized ? quantize_values(weight, num_cols).values : weight;
  const Values x = is_quantized ? quantize_values(in, num_cols).values : in;
  for (int64_t t = 0; t < num_tokens; ++t) {
    Values combined(static_cast<size_t>(hidden), 0.0);
    for (int64_t k = 0; k < num_chosen; ++k) {
      const int64_t expert = ids[static_cast<size_t>(t * num_chosen + k)];
      if (part == Part::kUp) {
        const Values both = product(w.data() + expert * 2 * inner * hidden, x.data() + t * hidden, 2 * inner, hidden);
        for (size_t i = 0; i < both.size() / 2; ++i) rows.push_back(silu(both[i]) * both[i + both.size() / 2]);
      } else {
        const Values row =
            product(w.data() + expert * inner * hidden, x.data() + (t * num_chosen + k) * inner, hidden, inner);
        const double factor = expert_weights[static_cast<size_t>(t * num_chosen + k)];
        for (size_t i = 0; i < row.size(); ++i) combined[i] += factor * row[i];
      }
    }
    if (part == Part::kDown) rows.insert(rows.end(), combined.begin(), combined.end());
  }
  return rows;
}

namespace {

TEST(MoeRoute, chooses_scores_and_renormalises) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::moe_route, [&] {
    for (const int64_t num_tokens : {0, 1, 17}) {
      for (const int num_groups : {1, 4}) {
        for (const bool has_shared : {true, false}) {
          const auto problem = RouteProblem::make(num_tokens, 16, num_groups, has_shared, harness->activation());
          expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), problem.num_chosen, DType::kF32);
        }
      }
    }
  });
}

// As many tokens and experts as send a backend through each of its ways.
TEST(MoeRoute, chooses_among_the_experts_of_models) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::moe_route, [&] {
    for (const int64_t num_experts : {64, 128, 160}) {
      for (const int64_t num_tokens : {1, 4, 5, 36, 37, 97, 130}) {
        SCOPED_TRACE(testing::Message() << num_experts << " experts, " << num_tokens << " tokens");
        const auto problem = RouteProblem::make(num_tokens, num_experts, 1, true, harness->activation());
        expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), problem.num_chosen, DType::kF32);
      }
    }
  });
}

// Widths that the blocks of a cluster share unevenly; gates as checkpoints have them, in 16 bits, and of all 24.
TEST(MoeRoute, chooses_over_the_width_of_models) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::moe_route, [&] {
    for (const int64_t width : {520, 2048}) {
      for (const int64_t num_tokens : {3, 300, 530}) {
        SCOPED_TRACE(testing::Message() << num_tokens << " tokens of " << width);
        auto problem = RouteProblem::make(num_tokens, 64, 1, true, harness->activation(), width);
        const DType gate_dtype = num_tokens == 300 ? DType::kBF16 : DType::kF32;
        problem.gate = random_values(64 * width, 54, gate_dtype, 0.05);   // no scores of 1
        expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), problem.num_chosen, DType::kF32);
      }
    }
  });
}

TEST(MoeRoute, takes_the_lower_expert_on_ties) {
  const auto harness = make_harness();
  auto problem = RouteProblem::make(2, 16, 1, true, harness->activation());
  std::fill(problem.gate.begin(), problem.gate.end(), 0.0);
  std::fill(problem.bias.begin(), problem.bias.end(), 0.0);
  const Values rows = problem.run(*harness, 0, 2);
  EXPECT_EQ(Values(rows.begin(), rows.begin() + 4), (Values{0, 1, 2, 16}));
}

void expect_experts(Harness& harness, ExpertsProblem problem) {
  const auto width = problem.part == ExpertsProblem::Part::kUp ? problem.inner : problem.hidden;
  const Values want = problem.reference();
  expect_close(problem.run(harness, 0, problem.num_tokens), want, width, harness.activation());
  if (problem.format == WeightFormat::kAsIs || problem.part == ExpertsProblem::Part::kDown) return;
  problem.out_dtype = DType::kF8E4M3;
  expect_close(problem.run(harness, 0, problem.num_tokens), want, width, DType::kF8E4M3);
}

// body(part, format) for each variant of both ops.
void for_each_part(Harness& harness, const std::function<void(ExpertsProblem::Part, WeightFormat)>& body) {
  std::vector<WeightFormat> formats = {WeightFormat::kAsIs};
  if (harness.has_quantized()) formats.push_back(WeightFormat::kF8E4M3);
  for (const WeightFormat format : formats) {
    SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format));
    harness.for_each_variant(&OpTable::moe_up, [&] { body(ExpertsProblem::Part::kUp, format); });
    harness.for_each_variant(&OpTable::moe_down_combine, [&] { body(ExpertsProblem::Part::kDown, format); });
  }
}

TEST(MoeExperts, multiply_spread_choices_empty_experts_and_one_that_takes_all) {
  const auto harness = make_harness();
  for_each_part(*harness, [&](ExpertsProblem::Part part, WeightFormat format) {
    for (const int64_t num_tokens : {0, 1, 9, 33}) {
      const std::vector<int> spread = random_ints(num_tokens * 3, 71, 7),
                             all_one(static_cast<size_t>(num_tokens * 3), 4);
      for (const std::vector<int>& ids : {spread, all_one}) {
        SCOPED_TRACE(testing::Message() << num_tokens << " tokens, part " << static_cast<int>(part));
        expect_experts(*harness, ExpertsProblem(part, num_tokens, 7, 3, 40, 23, ids, harness->activation(), format));
      }
    }
  });
}

// Sizes that the fast kernels of a backend take: rows in whole 16-byte pieces, gate and up interleaved; token counts
// around tiles.
TEST(MoeExperts, multiply_aligned_sizes_around_every_tile) {
  const auto harness = make_harness();
  for_each_part(*harness, [&](ExpertsProblem::Part part, WeightFormat format) {
    for (const int64_t num_tokens : {1, 7, 65, 150}) {
      const std::vector<int> spread = random_ints(num_tokens * 2, 72, 5),
                             all_one(static_cast<size_t>(num_tokens * 2), 3);
      for (const std::vector<int>& ids : {spread, all_one}) {
        SCOPED_TRACE(testing::Message() << num_tokens << " tokens, part " << static_cast<int>(part));
        expect_experts(*harness, ExpertsProblem(part, num_tokens, 6, 2, 208, 176, ids, harness->activation(), format));
      }
    }
  });
}

// Many tiles of experts that have few rows each; one has some more, one has none.
TEST(MoeExperts, multiply_few_rows_of_many_experts) {
  constexpr int64_t kTokens = 33, kExperts = 40, kMany = 1408, kFew = 80;
  std::vector<int> ids = random_ints(kTokens * 2, 75, kExperts - 1);   // the last stays empty
  for (size_t i = 1; i < 40; i += 2) ids[i] = 7;
  for (size_t i = 0; i < ids.size(); i += 2) ids[i] = ids[i] == 7 ? 8 : ids[i];
  const auto harness = make_harness();
  for_each_part(*harness, [&](ExpertsProblem::Part part, WeightFormat format) {
    const bool is_up = part == ExpertsProblem::Part::kUp;
    const int64_t hidden = is_up ? kFew : kMany, inner = is_up ? kMany / 2 : kFew;
    expect_experts(*harness,
                   ExpertsProblem(part, kTokens, kExperts, 2, hidden, inner, ids, harness->activation(), format));
  });
}

// Enough rows and columns for the kernels of full experts: several tiles of tokens, uneven ones, an expert without any.
TEST(MoeExperts, multiply_many_rows_of_few_experts) {
  const auto harness = make_harness();
  for_each_part(*harness, [&](ExpertsProblem::Part part, WeightFormat format) {
    const bool is_up = part == ExpertsProblem::Part::kUp;
    for (const int64_t num_tokens : {110, 331}) {
      SCOPED_TRACE(testing::Message() << num_tokens << " tokens, part " << static_cast<int>(part));
      std::vector<int> ids = random_ints(num_tokens * 2, 74, 4);
      for (size_t i = 1; i < ids.size(); i += 2) ids[i] = i % 6 == 1 ? 3 : 5;   // 4 stays empty
      const int64_t hidden = is_up ? 656 : 304, inner = is_up ? 152 : 656;
      const ExpertsProblem problem(part, num_tokens, 6, 2, hidden, inner, ids, harness->activation(), format);
      expect_experts(*harness, problem);
    }
  });
}

TEST(MoeExperts, multiply_the_width_of_a_model_with_many_experts) {
  const auto harness = make_harness();
  for_each_part(*harness, [&](ExpertsProblem::Part part, WeightFormat format) {
    for (const int64_t num_tokens : {1, 12}) {
      SCOPED_TRACE(testing::Message() << num_tokens << " tokens, part " << static_cast<int>(part));
      std::vector<int> ids = random_ints(num_tokens * 5, 73, 128);
      for (size_t i = 4; i < ids.size(); i += 5) ids[i] = 128;   // the shared expert
      const int64_t hidden = part == ExpertsProblem::Part::kUp ? 2048 : 64,
                    inner = part == ExpertsProblem::Part::kUp ? 16 : 1408;
      expect_experts(*harness,
                     ExpertsProblem(part, num_tokens, 129, 5, hidden, inner, ids, harness->activation(), format));
    }
  });
}

}  // namespace
}  // namespace gale
