#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "ops/philox.h"
#include "support/problems.h"

namespace gale {
namespace {

constexpr double kForbidden = -std::numeric_limits<double>::infinity();

struct Settings { double temperature = 1, top_p = 1, min_p = 0; int top_k = 0; int64_t seed = 5, position = 9; };

std::vector<int> draw(Harness& harness, const Values& logits, int64_t vocabulary, const std::vector<Settings>& rows) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  const auto column = [&](auto member, DType dtype) {
    Values values;
    for (const Settings& row : rows) values.push_back(static_cast<double>(row.*member));
    return harness.put(values, {num_rows}, dtype);
  };
  const Tensor ids = harness.output({num_rows}, DType::kI32);
  harness.call<SampleArgs>(
      sample, &OpTable::sample,
      {.token_ids = ids, .logits = harness.put(logits, {num_rows, vocabulary}, DType::kF32),
       .temperature = column(&Settings::temperature, DType::kF32), .top_p = column(&Settings::top_p, DType::kF32),
       .min_p = column(&Settings::min_p, DType::kF32), .top_k = column(&Settings::top_k, DType::kI32),
       .seeds = column(&Settings::seed, DType::kI64), .positions = column(&Settings::position, DType::kI64)});
  const Values drawn = harness.get(ids);
  return {drawn.begin(), drawn.end()};
}

// What may be drawn, by sorting: the definition, slowly.
std::set<int> allowed_reference(const Values& logits, const Settings& s) {
  std::vector<int> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  const auto at = [&logits](int id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return at(a) > at(b); });
  size_t kept = order.size();
  if (s.top_k > 0) kept = std::min<size_t>(kept, static_cast<size_t>(s.top_k));
  while (kept < order.size() && at(order[kept]) == at(order[kept - 1])) ++kept;
  const auto p = [&](size_t rank) { return std::exp((at(order[rank]) - at(order[0])) / s.temperature); };
  double total = 0, sum = 0;
  for (size_t i = 0; i < kept; ++i) total += p(i);
  size_t nucleus = 0;
  while (nucleus < kept && (nucleus == 0 || sum < s.top_p * total)) sum += p(nucleus++);
  if (s.top_p >= 1) nucleus = kept;
  std::set<int> allowed;
  for (size_t i = 0; i < nucleus; ++i) {
    if (p(i) >= s.min_p) allowed.insert(order[i]);
  }
  return allowed;
}

int draw_reference(const Values& logits, const Settings& s) {
  int best = -1;
  double best_score = 0;
  for (const int id : allowed_reference(logits, s)) {
    const double u =
        (sample_bits(static_cast<uint64_t>(s.seed), static_cast<uint64_t>(s.position), static_cast<uint32_t>(id)) +
         0.5) /
        0x1p32;
    const double score = logits[static_cast<size_t>(id)] / s.temperature - std::log(-std::log(u));
    if (best < 0 || score > best_score) {
      best = id;
      best_score = score;
    }
  }
  return best;
}

TEST(Philox, gives_the_known_answers) {
  const auto expect_words = [](PhiloxWords got, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    EXPECT_EQ((std::vector<uint32_t>(got.word, got.word + 4)), (std::vector<uint32_t>{a, b, c, d}));
  };
  expect_words(philox4x32_10({{0, 0, 0, 0}}, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u);
  constexpr uint32_t kOnes = 0xffffffffu;
  expect_words(philox4x32_10({{kOnes, kOnes, kOnes, kOnes}}, kOnes, kOnes), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u,
               0x6d5451fdu);
  expect_words(philox4x32_10({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u),
               0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}

TEST(Philox, gumbel_is_finite_and_right_up_to_both_ends) {
  for (const uint32_t bits : {0u, 1u, 1000u, 0x7fffffffu, 0x80000000u, 0xffffff00u, 0xfffffffeu, 0xffffffffu}) {
    const double want = -std::log(-std::log1p(-(4294967296.0 - bits - 0.5) / 0x1p32));
    EXPECT_NEAR(gumbel_of_bits(bits), want, 2e-5) << bits;
    EXPECT_LT(gumbel_of_bits(bits), kMaxGumbel);
  }
}

TEST(Sample, draws_what_the_definition_draws) {
  const auto harness = make_harness();
  constexpr int64_t kVocabulary = 1000, kRows = 40;
  harness->for_each_variant(&OpTable::sample, [&] {
    for (const Settings base :
         {Settings{}, Settings{.temperature = 0.6}, Settings{.top_k = 20}, Settings{.top_p = 0.9},
          Settings{.min_p = 0.1}, Settings{.temperature = 1.3, .top_p = 0.95, .min_p = 0.02, .top_k = 50},
          Settings{.top_p = 0.0}, Settings{.top_k = 1}, Settings{.top_k = 5000}}) {
      const Values logits = random_values(kVocabulary * kRows, 81, DType::kF32, 2.5);
      std::vector<Settings> rows(kRows, base);
      for (int64_t r = 0; r < kRows; ++r) rows[static_cast<size_t>(r)].position = r;
      const std::vector<int> drawn = draw(*harness, logits, kVocabulary, rows);
      for (int64_t r = 0; r < kRows; ++r) {
        const Values row = slice_of(logits, r, r + 1, kVocabulary);
        EXPECT_EQ(drawn[static_cast<size_t>(r)], draw_reference(row, rows[static_cast<size_t>(r)])) << "row " << r;
      }
    }
  });
}

// As wide as models are; few rows and many, flat and peaked.
TEST(Sample, draws_what_the_definition_draws_from_a_whole_vocabulary) {
  const auto harness = make_harness();
  constexpr int64_t kVocabulary = 151552;
  harness->for_each_variant(&OpTable::sample, [&] {
    for (const int64_t num_rows : {2, 13}) {
      for (const double spread : {1.0, 6.0}) {
        const Values logits = random_values(kVocabulary * num_rows, 82, DType::kF32, spread);
        constexpr Settings kKinds[] = {
            {}, {.temperature = 0.7, .top_p = 0.9}, {.top_p = 0.95, .top_k = 40}, {.min_p = 0.05}, {.top_k = 20000}};
        for (const Settings& base : kKinds) {
          std::vector<Settings> rows(static_cast<size_t>(num_rows), base);
          for (int64_t r = 0; r < num_rows; ++r) rows[static_cast<size_t>(r)].seed = 1000 + r;
          const std::vector<int> drawn = draw(*harness, logits, kVocabulary, rows);
          for (int64_t r = 0; r < num_rows; r += 12) {   // the reference sorts
            const Values row = slice_of(logits, r, r + 1, kVocabulary);
            EXPECT_EQ(drawn[static_cast<size_t>(r)], draw_reference(row, rows[static_cast<size_t>(r)]))
                << "row " << r << ", spread " << spread;
          }
        }
      }
    }
  });
}

TEST(Sample, keeps_all_of_thousands_that_tie_at_a_border) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::sample, [&] {
    Values row(20000, 1.5);
    for (size_t i = 0; i < row.size(); i += 2) row[i] = kForbidden;
    for (int64_t seed = 0; seed < 5; ++seed) {
      const std::vector<int> want = draw(*harness, row, 20000, {Settings{.seed = seed}});
      EXPECT_EQ(want[0] % 2, 1);
      EXPECT_EQ(draw(*harness, row, 20000, {Settings{.top_p = 0.5, .seed = seed}}), want);
      EXPECT_EQ(draw(*harness, row, 20000, {Settings{.top_k = 7, .seed = seed}}), want);
      EXPECT_EQ(draw(*harness, row, 20000, {Settings{.top_k = 15000, .seed = seed}}), want);
    }
  });
}

TEST(Sample, gives_minus_one_where_no_probabilities_are) {
  const auto harness = make_harness();
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  harness->for_each_variant(&OpTable::sample, [&] {
    for (const double temperature : {0.0, 1.0}) {
      const std::vector<Settings> rows(4, Settings{.temperature = temperature});
      const Values logits = {1, kNan, 3, kForbidden, kForbidden, kForbidden, 1, kInf, 2, kForbidden, 0.5, kForbidden};
      EXPECT_EQ(draw(*harness, logits, 3, rows), (std::vector<int>{-1, -1, -1, 1}));
    }
  });
}

TEST(Sample, leaves_each_token_in_its_slot_for_the_embedding_to_read) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::sample, [&] {
    const Tensor ids = harness->output({3}, DType::kI32), last = harness->ints<int>({7, 7, 7, 7}, {4});
    const Tensor zeros = harness->put({0, 0, 0}, {3}, DType::kF32), none = harness->ints<int>({0, 0, 0}, {3});
    const Tensor wide = harness->ints<int>({0, 0, 0}, {3}, DType::kI64);
    harness->call<SampleArgs>(sample, &OpTable::sample,
                              {.token_ids = ids, .logits = harness->put({0, 5, 9, 0, 3, 1}, {3, 2}, DType::kF32),
                               .temperature = zeros, .top_p = zeros, .min_p = zeros, .top_k = none, .seeds = wide,
                               .positions = wide, .slots = harness->ints<int>({2, -1, 0}, {3}), .last_tokens = last});
    EXPECT_EQ(harness->get(last), (Values{0, 7, 1, 7}));   // row 0 drew 1, row 2 drew 0
    const Tensor out = harness->output({2, 1}), table = harness->put({10, 20}, {2, 1}, DType::kBF16);
    harness->call<EmbeddingArgs>(
        embedding, &OpTable::embedding,
        {.out = out, .ids = harness->ints<int>({-3, -1}, {2}), .table = table, .last_tokens = last});
    EXPECT_EQ(harness->get(out), (Values{20, 10}));
  });
}

TEST(Sample, temperature_zero_takes_the_largest_and_lowest_on_ties) {
  const auto harness = make_harness();
  const Settings greedy{.temperature = 0};
  EXPECT_EQ(draw(*harness, {1, 7, 3, 7, kForbidden, 7}, 6, {greedy}), (std::vector<int>{1}));
  EXPECT_EQ(draw(*harness, {kForbidden, kForbidden, -5}, 3, {greedy}), (std::vector<int>{2}));
  EXPECT_EQ(draw(*harness, {kForbidden, kForbidden}, 2, {Settings{}}), (std::vector<int>{-1}));
  EXPECT_TRUE(draw(*harness, {}, 6, {}).empty());
}

TEST(Sample, keeps_ties_at_the_top_k_border_and_never_draws_masked_tokens) {
  const auto harness = make_harness();
  const Values row{2, 2, 2, 1, kForbidden};
  std::set<int> seen;
  for (int64_t seed = 0; seed < 60; ++seed)
    seen.insert(draw(*harness, row, 5, {Settings{.top_k = 2, .seed = seed}})[0]);
  EXPECT_EQ(seen, (std::set<int>{0, 1, 2}));
}

TEST(Sample, frequencies_follow_the_probabilities) {
  const auto harness = make_harness();
  const Values row{std::log(0.5), std::log(0.3), std::log(0.2)};
  constexpr int kDraws = 4000;
  Values logits;
  std::vector<Settings> rows;
  for (int64_t i = 0; i < kDraws; ++i) {
    logits.insert(logits.end(), row.begin(), row.end());
    rows.push_back({.seed = 1234, .position = i});
  }
  const std::vector<int> drawn = draw(*harness, logits, 3, rows);
  for (int id = 0; id < 3; ++id) {   // four standard deviations of a count
    EXPECT_NEAR(std::count(drawn.begin(), drawn.end(), id) / double{kDraws}, std::exp(row[static_cast<size_t>(id)]),
                0.032);
  }
}

TEST(MaskLogits, forbids_ids_without_text_and_masked_bits) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::mask_logits, [&] {
    Values want = random_values(3 * 70, 91, DType::kF32);
    const Tensor logits = harness->put(want, {3, 70}, DType::kF32);
    const std::vector<uint32_t> mask{0xf0f0f0f0u, 0x00000001u, 0xffffffffu};
    harness->call<MaskLogitsArgs>(mask_logits, &OpTable::mask_logits,
                                  {.logits = logits,
                                   .num_valid_tokens = 67,
                                   .masks = harness->ints(mask, {1, 3}, DType::kU32),
                                   .mask_rows = harness->ints<int>({2}, {1})});
    for (size_t i = 0; i < want.size(); ++i) {
      const size_t token = i % 70;
      if (token >= 67 || (i / 70 == 2 && (mask[token / 32] >> (token % 32) & 1u) == 0)) want[i] = kForbidden;
    }
    EXPECT_EQ(harness->get(logits), want);
  });
}

TEST(Penalties, divide_or_multiply_then_subtract) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::apply_penalties, [&] {
    const Tensor logits = harness->put({4, -4, 2, 1, 8, 0.5}, {2, 3}, DType::kF32);
    harness->call<PenaltiesArgs>(apply_penalties, &OpTable::apply_penalties,
                                 {.logits = logits,
                                  .rows = harness->ints<int>({0, 0, 1}, {3}),
                                  .token_ids = harness->ints<int>({0, 1, 1}, {3}),
                                  .output_counts = harness->ints<int>({0, 3, 2}, {3}),
                                  .repetition = harness->put({2, 1}, {2}, DType::kF32),
                                  .frequency = harness->put({0.5, 0.25}, {2}, DType::kF32),
                                  .presence = harness->put({0.125, 1}, {2}, DType::kF32)});
    EXPECT_EQ(harness->get(logits), (Values{2, -8 - 1.5 - 0.125, 2, 1, 8 - 0.5 - 1, 0.5}));
  });
}

TEST(LogitBias, adds_every_entry) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::apply_logit_bias, [&] {
    const Tensor logits = harness->put({1, 2, 3, 4}, {2, 2}, DType::kF32);
    harness->call<LogitBiasArgs>(apply_logit_bias, &OpTable::apply_logit_bias,
                                 {.logits = logits,
                                  .rows = harness->ints<int>({0, 1}, {2}),
                                  .token_ids = harness->ints<int>({1, 0}, {2}),
                                  .values = harness->put({10, -100}, {2}, DType::kF32)});
    EXPECT_EQ(harness->get(logits), (Values{1, 12, -97, 4}));
  });
}

TEST(Logprobs, ranks_and_lists_the_best) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::logprobs, [&] {
    for (const int64_t k : {0, 1, 5}) {
      constexpr int64_t kVocabulary = 300;
      const Values all = random_values(2 * kVocabulary, 95, DType::kF32, 3.0);
      const std::vector<int> chosen{17, 299};
      const Tensor values = harness->output({2}, DType::kF32), ranks = harness->output({2}, DType::kI32);
      const Tensor ids = harness->output({2, k}, DType::kI32), best = harness->output({2, k}, DType::kF32);
      harness->call<LogprobsArgs>(logprobs, &OpTable::logprobs,
                                  {.logits = harness->put(all, {2, kVocabulary}, DType::kF32),
                                   .chosen = harness->ints(chosen, {2}),
                                   .chosen_logprobs = values,
                                   .chosen_ranks = ranks,
                                   .top_ids = ids,
                                   .top_logprobs = best});
      for (int64_t r = 0; r < 2; ++r) {
        Values row = slice_of(all, r, r + 1, kVocabulary);
        double sum = 0;
        for (const double x : row) sum += std::exp(x);
        const double logit = row[static_cast<size_t>(chosen[static_cast<size_t>(r)])];
        EXPECT_NEAR(harness->get(values)[static_cast<size_t>(r)], logit - std::log(sum), 2e-5);
        EXPECT_EQ(harness->get(ranks)[static_cast<size_t>(r)],
                  1 + std::count_if(row.begin(), row.end(), [&](double x) { return x > logit; }));
        const Values got = harness->get(ids), got_values = harness->get(best);
        Values sorted = row;
        std::sort(sorted.rbegin(), sorted.rend());
        for (int64_t i = 0; i < k; ++i) {
          EXPECT_EQ(row[static_cast<size_t>(got[static_cast<size_t>(r * k + i)])], sorted[static_cast<size_t>(i)]);
          EXPECT_NEAR(got_values[static_cast<size_t>(r * k + i)], sorted[static_cast<size_t>(i)] - std::log(sum), 2e-5);
        }
      }
    }
  });
}

}  // namespace
}  // namespace gale
