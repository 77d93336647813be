// Weights that a checkpoint stores in e4m3 with a scale a row: kept value by value where a backend has FP8 weights,
// widened to bf16 where it is asked for those. Largest values are not 448 on purpose: whoever quantises anew would
// round a second time.
#include <algorithm>
#include <cmath>

#include "support/problems.h"
#include "tensor/convert.h"

namespace gale {
namespace {

struct Stored {
  Values codes, scales;
};

Stored stored_weight(int64_t num_rows, int64_t num_cols, uint64_t seed) {
  Stored out{random_values(num_rows * num_cols, seed, DType::kF8E4M3, 60.0), {}};
  for (const double x : random_values(num_rows, seed + 1, DType::kF32, 0.5))
    out.scales.push_back(0.001 + 0.002 * std::abs(x));
  for (double& scale : out.scales) scale = static_cast<double>(static_cast<float>(scale));
  return out;
}

Values product_of(const Values& in, const Values& weight, int64_t num_tokens, int64_t num_rows, int64_t num_cols) {
  Values out;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const Values row = product(weight.data(), in.data() + t * num_cols, num_rows, num_cols);
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

void expect_product(Harness& harness, int64_t num_tokens, std::vector<int64_t> rows, int64_t num_cols,
                    WeightFormat format) {
  int64_t num_rows = 0;
  std::vector<Tensor> sources;
  Values weight;
  for (const int64_t count : rows) {
    const Stored stored = stored_weight(count, num_cols, 80 + static_cast<uint64_t>(num_rows));
    Tensor source = harness.put(stored.codes, {count, num_cols}, DType::kF8E4M3);
    source.scales = harness.put(stored.scales, {count}, DType::kF32).as<float>();
    sources.push_back(source);
    for (size_t i = 0; i < stored.codes.size(); ++i) {
      const double value = stored.codes[i] * stored.scales[i / static_cast<size_t>(num_cols)];
      const bool is_wide = format == WeightFormat::kAsIs;
      weight.push_back(is_wide ? static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(value)))) : value);
    }
    num_rows += count;
  }
  const Values in = random_values(num_tokens * num_cols, 90, harness.activation());
  const bool is_quantized = format == WeightFormat::kF8E4M3;
  const PackedWeight packed = harness.pack_sources(sources, 1, RowOrder::kPlain, format);
  EXPECT_EQ(packed.is_quantized(), is_quantized);
  const Shape shape{num_tokens, num_cols};
  const Tensor x = is_quantized ? harness.quantized(in, shape) : harness.activations(in, shape);
  const Tensor out = harness.output({num_tokens, num_rows}, DType::kF32);
  harness.call<LinearArgs>(linear, &OpTable::linear, {.out = out, .in = x, .weight = &packed, .bias = {}});
  const Values seen = is_quantized ? quantize_values(in, num_cols).values : in;
  // Exact products. A GPU's tensor cores sum those of FP8 in fewer bits than f32 has, each kernel in its own order: up
  // to 0.2 % of a row's largest (kF16). Weights rounded a second time would be off by some per cent.
  const bool sums_are_short = is_quantized && harness.activation() != DType::kF32;
  expect_close(harness.get(out), product_of(seen, weight, num_tokens, num_rows, num_cols), num_rows,
               sums_are_short ? DType::kF16 : DType::kF32);
}

TEST(Fp8Sources, keep_their_values_and_scales) {
  const auto harness = make_harness();
  std::vector<WeightFormat> formats = {WeightFormat::kAsIs};
  if (harness->has_quantized()) formats.push_back(WeightFormat::kF8E4M3);
  for (const WeightFormat format : formats) {
    SCOPED_TRACE(testing::Message() << "format " << static_cast<int>(format));
    harness->for_each_variant(&OpTable::linear, [&] {
      expect_product(*harness, 3, {40}, 56, format);
      expect_product(*harness, 17, {64, 32, 32}, 256, format);
      expect_product(*harness, 1, {16, 128}, 96, format);
    });
  }
}

}  // namespace
}  // namespace gale
