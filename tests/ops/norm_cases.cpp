#include <algorithm>
#include <cmath>

#include "support/problems.h"

namespace gale {

Values norm_reference(const double* x, const Values& weight, double eps) {
  double sum = 0;
  for (size_t i = 0; i < weight.size(); ++i) sum += x[i] * x[i];
  const double scale = 1 / std::sqrt(sum / static_cast<double>(weight.size()) + eps);
  Values out(weight.size());
  for (size_t i = 0; i < weight.size(); ++i) out[i] = x[i] * scale * weight[i];
  return out;
}

NormProblem::NormProblem(Kind kind, int64_t num_tokens, int64_t width, DType dtype)
    : kind(kind), num_tokens(num_tokens), width(width), in(random_values(num_tokens * width, 1, dtype)),
      residual(random_values(num_tokens * width, 2, dtype, 3.0)), weight(random_values(width, 3, dtype)),
      post_weight(random_values(width, 4, dtype)) {}

Values NormProblem::run(Harness& harness, int64_t begin, int64_t end) const {
  const Shape shape{end - begin, width};
  const Tensor x = harness.activations(slice_of(in, begin, end, width), shape);
  const Tensor r = harness.activations(slice_of(residual, begin, end, width), shape);
  const Tensor w = harness.activations(weight, {width}), post = harness.activations(post_weight, {width});
  const Tensor out = harness.output(shape), quantized = is_quantized ? harness.quantized_output(shape) : Tensor{};
  switch (kind) {
    case Kind::kPlain:
      harness.call<RmsNormArgs>(rms_norm, &OpTable::rms_norm,
                                {.out = out, .in = x, .weight = w, .eps = kEps, .quantized = quantized});
      break;
    case Kind::kAdd:
      harness.call<AddRmsNormArgs>(
          add_rms_norm, &OpTable::add_rms_norm,
          {.out = out, .residual = r, .in = x, .weight = w, .eps = kEps, .quantized = quantized});
      break;
    case Kind::kSandwich:
      harness.call<NormAddRmsNormArgs>(
          norm_add_rms_norm, &OpTable::norm_add_rms_norm,
          {.out = out, .residual = r, .in = x, .post_weight = post, .weight = w, .eps = kEps, .quantized = quantized});
      break;
  }
  const Values normed = harness.get(out), sum = harness.get(r);
  if (is_quantized) {
    EXPECT_EQ(harness.get(quantized), quantize_values(normed, width).values);
  }
  if (kind == Kind::kPlain) return normed;
  Values rows;
  for (int64_t t = 0; t < end - begin; ++t) {
    rows.insert(rows.end(), normed.begin() + t * width, normed.begin() + (t + 1) * width);
    rows.insert(rows.end(), sum.begin() + t * width, sum.begin() + (t + 1) * width);
  }
  return rows;
}

Values NormProblem::reference() const {
  Values rows;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const double* x = in.data() + t * width;
    Values sum(residual.begin() + t * width, residual.begin() + (t + 1) * width);
    const Values added = kind == Kind::kSandwich ? norm_reference(x, post_weight, kEps) : Values(x, x + width);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += added[i];
    const Values normed = norm_reference(kind == Kind::kPlain ? x : sum.data(), weight, kEps);
    rows.insert(rows.end(), normed.begin(), normed.end());
    if (kind != Kind::kPlain) rows.insert(rows.end(), sum.begin(), sum.end());
  }
  return rows;
}

namespace {

void expect_norm(Harness& harness, NormProblem::Kind kind) {
  for (const int64_t num_tokens : {0, 1, 5}) {
    for (const int64_t width : {1, 15, 16, 17, 33, 256, 2048, 4096, 5120}) {
      SCOPED_TRACE(testing::Message() << num_tokens << " tokens, width " << width);
      NormProblem problem(kind, num_tokens, width, harness.activation());
      expect_close(problem.run(harness, 0, num_tokens), problem.reference(), width, harness.activation());
      problem.is_quantized = harness.has_quantized();
      if (problem.is_quantized)
        expect_close(problem.run(harness, 0, num_tokens), problem.reference(), width, harness.activation());
    }
  }
}

TEST(Norm, normalises_rows) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::rms_norm, [&] { expect_norm(*harness, NormProblem::Kind::kPlain); });
}
TEST(Norm, adds_to_the_residual_first) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::add_rms_norm, [&] { expect_norm(*harness, NormProblem::Kind::kAdd); });
}
TEST(Norm, norms_before_and_after_adding) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::norm_add_rms_norm, [&] { expect_norm(*harness, NormProblem::Kind::kSandwich); });
}

TEST(Norm, gives_quantised_rows_alone) {
  const auto harness = make_harness();
  if (!harness->has_quantized()) GTEST_SKIP() << "this backend has no FP8 weights";
  const Shape shape{5, 4096};
  const Tensor in = harness->activations(random_values(shape.num_elements(), 1, harness->activation()), shape);
  const Tensor weight = harness->activations(random_values(4096, 3, harness->activation()), {4096});
  const auto add_and_norm = [&](const Tensor& out) {
    const Tensor residual = harness->activations(random_values(shape.num_elements(), 2, harness->activation()), shape);
    const Tensor quantized = harness->quantized_output(shape);
    harness->call<AddRmsNormArgs>(
        add_rms_norm, &OpTable::add_rms_norm,
        {.out = out, .residual = residual, .in = in, .weight = weight, .eps = 1e-5f, .quantized = quantized});
    return harness->get(quantized);
  };
  EXPECT_EQ(add_and_norm({}), add_and_norm(harness->output(shape)));
}

TEST(Norm, takes_slices_of_wider_rows) {
  const auto harness = make_harness();
  const Values wide = random_values(3 * 40, 5, harness->activation()),
               weight = random_values(16, 6, harness->activation());
  const Tensor in = harness->activations(wide, {3, 40});
  const Tensor out = harness->output({3, 16});
  harness->call<RmsNormArgs>(
      rms_norm, &OpTable::rms_norm,
      {.out = out, .in = in.slice(1, 8, 24), .weight = harness->activations(weight, {16}), .eps = 1e-5f});
  Values want;
  for (int64_t t = 0; t < 3; ++t) {
    const Values row = norm_reference(wide.data() + t * 40 + 8, weight, 1e-5);
    want.insert(want.end(), row.begin(), row.end());
  }
  expect_close(harness->get(out), want, 16, harness->activation());
}

TEST(Quantize, rounds_rows_to_e4m3_with_a_factor_each) {
  const auto harness = make_harness();
  if (!harness->has_quantized()) GTEST_SKIP() << "this backend has no FP8 weights";
  harness->for_each_variant(&OpTable::quantize_rows, [&] {
    for (const int64_t width : {1, 17, 64, 1000, 2048, 13696}) {
      SCOPED_TRACE(testing::Message() << "width " << width);
      Values values = random_values(5 * width, 7, harness->activation(), 3.0);
      std::fill(values.begin() + width, values.begin() + 2 * width, 0.0);   // a row of zeros
      const Tensor out = harness->quantized_output({5, width});
      harness->call<QuantizeRowsArgs>(quantize_rows, &OpTable::quantize_rows,
                                      {.out = out, .in = harness->activations(values, {5, width})});
      EXPECT_EQ(harness->get(out), quantize_values(values, width).values);
    }
  });
}

}  // namespace
}  // namespace gale
