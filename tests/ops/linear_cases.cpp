#include <cmath>
#include <utility>

#include "support/problems.h"

namespace gale {

Values product(const double* weight, const double* in, int64_t num_rows, int64_t num_cols) {
  Values out(static_cast<size_t>(num_rows), 0.0);
  for (int64_t n = 0; n < num_rows; ++n) {
    for (int64_t k = 0; k < num_cols; ++k) out[static_cast<size_t>(n)] += weight[n * num_cols + k] * in[k];
  }
  return out;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

LinearProblem::LinearProblem(Kind kind, int64_t num_tokens, std::vector<int64_t> rows, int64_t num_cols,
                             DType weight_dtype, DType dtype, WeightFormat format)
    : kind(kind), num_tokens(num_tokens), source_rows(std::move(rows)), num_cols(num_cols), weight_dtype(weight_dtype),
      format(format), out_dtype(dtype) {
  for (const int64_t n : source_rows) num_rows += n;
  in = random_values(num_tokens * num_cols, 11, dtype);
  // A backend that computes in 16 bits holds f16 and f32 weights as bf16: numbers that survive this.
  weight = random_values(num_rows * num_cols, 12, dtype == DType::kF32 ? weight_dtype : DType::kBF16);
  bias = random_values(num_rows, 13, dtype);
}

Values LinearProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  const Values rows = slice_of(in, begin, end, num_cols);
  const Tensor x = format == WeightFormat::kAsIs ? harness.activations(rows, {count, num_cols})
                                                 : harness.quantized(rows, {count, num_cols});
  const bool is_rounded = out_dtype == DType::kF8E4M3;
  const Tensor out =
      is_rounded ? harness.quantized_output({count, width()}) : harness.output({count, width()}, out_dtype);
  const RowOrder order = kind == Kind::kSwiglu ? RowOrder::kGateUp : RowOrder::kPlain;
  const PackedWeight packed = harness.pack(weight, source_rows, num_cols, 1, weight_dtype, order, format);
  if (kind == Kind::kSwiglu) {
    harness.call<LinearSwigluArgs>(
        linear_swiglu, &OpTable::linear_swiglu,
        {.out = out, .in = x, .weight = &packed, .scratch = harness.output({count, num_rows})});
  } else {
    const Tensor added = kind == Kind::kBias ? harness.activations(bias, {num_rows}) : Tensor{};
    harness.call<LinearArgs>(linear, &OpTable::linear, {.out = out, .in = x, .weight = &packed, .bias = added});
  }
  return harness.get(out);
}

Values LinearProblem::reference() const {
  Values rows;
  const bool is_quantized = format != WeightFormat::kAsIs;
  const Values w = is_quantized ? quantize_values(weight, num_cols).values : weight;
  const Values x = is_quantized ? quantize_values(in, num_cols).values : in;
  for (int64_t t = 0; t < num_tokens; ++t) {
    Values row = product(w.data(), x.data() + t * num_cols, num_rows, num_cols);
    for (size_t n = 0; n < row.size(); ++n) row[n] += kind == Kind::kBias ? bias[n] : 0;
    const auto inner = static_cast<size_t>(width());
    for (size_t n = 0; n < inner; ++n) rows.push_back(kind == Kind::kSwiglu ? silu(row[n]) * row[inner + n] : row[n]);
  }
  return rows;
}

HeadLinearProblem::HeadLinearProblem(int64_t num_tokens, int64_t num_heads, int64_t num_rows, int64_t num_cols,
                                     DType dtype)
    : num_tokens(num_tokens),
      num_heads(num_heads),
      num_rows(num_rows),
      num_cols(num_cols),
      in(random_values(num_tokens * num_heads * (num_cols + 8), 14, dtype)),
      weight(random_values(num_heads * num_rows * num_cols, 15, DType::kBF16)) {}

Values HeadLinearProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  const int64_t count = end - begin, wide_in = num_cols + 8, wide_out = num_rows + 4;
  const Tensor x = harness.activations(slice_of(in, begin, end, num_heads * wide_in), {count, num_heads, wide_in});
  const Tensor out = harness.output({count, num_heads, wide_out});
  const PackedWeight packed = harness.pack(weight, {num_rows}, num_cols, num_heads, DType::kBF16, RowOrder::kPlain);
  harness.call<HeadLinearArgs>(head_linear, &OpTable::head_linear,
                               {.out = out.slice(2, 0, num_rows), .in = x.slice(2, 8, wide_in), .weight = &packed});
  const Values all = harness.get(out);
  Values rows;
  for (int64_t head = 0; head < count * num_heads; ++head) {
    rows.insert(rows.end(), all.begin() + head * wide_out, all.begin() + head * wide_out + num_rows);
    for (int64_t i = num_rows; i < wide_out; ++i) {   // the neighbours stay as they were
      EXPECT_NEAR(all[static_cast<size_t>(head * wide_out + i)], -12345.0, 64);
    }
  }
  return rows;
}

Values HeadLinearProblem::reference() const {
  Values rows;
  for (int64_t i = 0; i < num_tokens * num_heads; ++i) {
    const Values row = product(weight.data() + i % num_heads * num_rows * num_cols, in.data() + i * (num_cols + 8) + 8,
                               num_rows, num_cols);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

namespace {

void expect_linear(Harness& harness, LinearProblem::Kind kind, const std::vector<int64_t>& rows) {
  for (const DType weight_dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int64_t num_tokens : {0, 1, 2, 3, 7, 8, 9, 17}) {
      for (const int64_t num_cols : {1, 2, 17, 64, 257}) {
        SCOPED_TRACE(testing::Message() << name_of(weight_dtype) << ", " << num_tokens << " tokens, K = " << num_cols);
        const LinearProblem problem(kind, num_tokens, rows, num_cols, weight_dtype, harness.activation());
        expect_close(problem.run(harness, 0, num_tokens), problem.reference(), problem.width(), harness.activation());
      }
    }
  }
}

TEST(Linear, multiplies_stacked_sources_of_any_size) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::linear, [&] {
    for (const auto& rows : std::vector<std::vector<int64_t>>{{1}, {15}, {16}, {17}, {5, 20, 3}, {80}}) {
      expect_linear(*harness, LinearProblem::Kind::kPlain, rows);
    }
  });
}

TEST(Linear, adds_the_bias) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::linear, [&] { expect_linear(*harness, LinearProblem::Kind::kBias, {33}); });
}

TEST(Linear, swiglu_joins_gate_and_up) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::linear_swiglu, [&] {
    for (const int64_t inner : {1, 16, 23, 64}) expect_linear(*harness, LinearProblem::Kind::kSwiglu, {inner, inner});
  });
}

TEST(Linear, multiplies_many_tokens_with_a_weight_of_several_pieces) {
  const auto harness = make_harness();
  const LinearProblem problem(LinearProblem::Kind::kPlain, 67, {700}, 512, DType::kBF16, harness->activation());
  expect_close(problem.run(*harness, 0, 67), problem.reference(), 700, harness->activation());
}

// Widths of the models and around the tiles; every token count that another kernel or tile may take.
void expect_wide_linear(Harness& harness, LinearProblem::Kind kind, const std::vector<int64_t>& rows, int64_t num_cols,
                        DType out_dtype) {
  std::vector<WeightFormat> formats = {WeightFormat::kAsIs};
  if (harness.has_quantized()) formats.push_back(WeightFormat::kF8E4M3);
  for (const WeightFormat format : formats) {
    const LinearProblem whole = [&] {
      LinearProblem problem(kind, 300, rows, num_cols, DType::kBF16, harness.activation(), format);
      problem.out_dtype = out_dtype;
      return problem;
    }();
    const Values want = whole.reference();
    for (const int64_t num_tokens : {1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 257, 300}) {
      SCOPED_TRACE(testing::Message() << num_tokens << " tokens, K = " << num_cols << ", format "
                                      << static_cast<int>(format) << ", out " << name_of(out_dtype));
      // f32 results of a 16-bit backend are sums of exact products; e4m3 results have another rounding on top.
      const DType tolerance = out_dtype == DType::kF32 && harness.activation() != DType::kF32 ? DType::kF16 : out_dtype;
      expect_close(whole.run(harness, 0, num_tokens), slice_of(want, 0, num_tokens, whole.width()), whole.width(),
                   tolerance);
    }
  }
}

TEST(Linear, multiplies_widths_of_models_at_every_bucket_edge) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::linear, [&] {
    expect_wide_linear(*harness, LinearProblem::Kind::kPlain, {136}, 4096, harness->activation());
    expect_wide_linear(*harness, LinearProblem::Kind::kBias, {64, 200}, 336, harness->activation());
    expect_wide_linear(*harness, LinearProblem::Kind::kPlain, {400}, 768, DType::kF32);
    expect_wide_linear(*harness, LinearProblem::Kind::kPlain, {1000}, 176, harness->activation());
  });
}

TEST(Linear, swiglu_of_widths_of_models_at_every_bucket_edge) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::linear_swiglu, [&] {
    expect_wide_linear(*harness, LinearProblem::Kind::kSwiglu, {200, 200}, 1024, harness->activation());
    expect_wide_linear(*harness, LinearProblem::Kind::kSwiglu, {72, 72}, 2048, harness->activation());
    if (harness->has_quantized())
      expect_wide_linear(*harness, LinearProblem::Kind::kSwiglu, {200, 200}, 1024, DType::kF8E4M3);
  });
}

// Sizes for which the plans of Hopper (tile_gemm_plan_test.cpp) choose each width of tiles, with K whole and shared.
TEST(Linear, multiplies_by_tiles_of_every_width) {
  const auto harness = make_harness();
  if (harness->activation() != DType::kBF16) GTEST_SKIP() << "sizes of a GPU";
  using Kind = LinearProblem::Kind;
  constexpr DType kOut = DType::kBF16, kLogits = DType::kF32;
  struct Sizes {
    Kind kind;
    std::vector<int64_t> rows;
    int64_t num_cols, num_tokens;
    DType out;
  };
  const Sizes all[] = {
      {Kind::kBias, {136}, 2048, 65, kOut},       {Kind::kSwiglu, {72, 72}, 2048, 101, kOut},
      {Kind::kBias, {100, 44}, 2048, 131, kOut},  {Kind::kPlain, {136}, 2048, 150, kLogits},
      {Kind::kPlain, {137}, 2048, 100, kOut},     {Kind::kBias, {8712}, 256, 190, kOut},
      {Kind::kSwiglu, {4352, 4352}, 256, 200, kOut}, {Kind::kPlain, {8717}, 256, 200, kLogits},
      {Kind::kBias, {17408}, 128, 500, kOut},         {Kind::kSwiglu, {8704, 8704}, 256, 380, kOut}};
  for (const Sizes& sizes : all) {
    for (const WeightFormat format : {WeightFormat::kAsIs, WeightFormat::kF8E4M3}) {
      SCOPED_TRACE(testing::Message() << sizes.num_tokens << " tokens, K = " << sizes.num_cols << ", " << sizes.rows[0]
                                      << " rows, format " << static_cast<int>(format));
      LinearProblem problem(sizes.kind, sizes.num_tokens, sizes.rows, sizes.num_cols, kOut, kOut, format);
      problem.out_dtype = sizes.out;
      expect_close(problem.run(*harness, 0, sizes.num_tokens), problem.reference(), problem.width(),
                   sizes.out == DType::kF32 ? DType::kF16 : sizes.out);
    }
  }
}

TEST(Linear, takes_quantised_operands_of_any_size) {
  const auto harness = make_harness();
  if (!harness->has_quantized()) GTEST_SKIP() << "this backend has no FP8 weights";
  harness->for_each_variant(&OpTable::linear, [&] {
    for (const int64_t num_tokens : {0, 1, 8, 9, 70}) {
      for (const int64_t num_cols : {1, 17, 40, 64, 257}) {
        SCOPED_TRACE(testing::Message() << num_tokens << " tokens, K = " << num_cols);
        const LinearProblem problem(LinearProblem::Kind::kBias, num_tokens, {5, 20, 3}, num_cols, DType::kBF16,
                                    harness->activation(), WeightFormat::kF8E4M3);
        expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), problem.width(), harness->activation());
      }
    }
  });
}

TEST(HeadLinear, multiplies_each_head_with_its_matrix_in_strided_rows) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::head_linear, [&] {
    for (const int64_t num_tokens : {0, 1, 9}) {
      for (const int64_t num_rows : {16, 17, 200}) {
        const HeadLinearProblem problem(num_tokens, 3, num_rows, 48, harness->activation());
        expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), num_rows, harness->activation());
      }
    }
    for (const int64_t num_tokens : {1, 20, 70, 140}) {   // whole blocks along K, as MLA has them
      for (const int64_t num_cols : {192, 512}) {
        const HeadLinearProblem problem(num_tokens, 4, 136, num_cols, harness->activation());
        expect_close(problem.run(*harness, 0, num_tokens), problem.reference(), 136, harness->activation());
      }
    }
  });
}

TEST(Pack, takes_transposed_views) {
  const auto harness = make_harness();
  const Values weight = random_values(20 * 6, 21, DType::kBF16), in = random_values(6, 22, harness->activation());
  Values flipped(weight.size());
  for (size_t n = 0; n < 20; ++n) {
    for (size_t k = 0; k < 6; ++k) flipped[k * 20 + n] = weight[n * 6 + k];
  }
  const Tensor out = harness->output({1, 20});
  const PackedWeight packed = harness->pack_one(harness->put(flipped, {6, 20}, DType::kBF16).transposed(0, 1));
  harness->call<LinearArgs>(linear, &OpTable::linear,
                            {.out = out, .in = harness->activations(in, {1, 6}), .weight = &packed, .bias = {}});
  expect_close(harness->get(out), product(weight.data(), in.data(), 20, 6), 20, harness->activation());
}

}  // namespace
}  // namespace gale
