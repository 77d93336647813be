#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <list>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {

using Values = std::vector<double>;

// Seeded numbers as a tensor of `dtype` would hold them, so that the reference works on what the op sees.
[[nodiscard]] Values random_values(int64_t count, uint64_t seed, DType dtype, double spread = 1.0);
// What is left of rows of `width` that go through e4m3 with a factor a row, and the factors.
struct QuantizedValues { Values values, factors; };
[[nodiscard]] QuantizedValues quantize_values(const Values& values, int64_t width);
[[nodiscard]] std::vector<int> random_ints(int64_t count, uint64_t seed, int end);
[[nodiscard]] Values slice_of(const Values& values, int64_t begin, int64_t end, int64_t width);

// A backend under test: puts values on its device, runs ops, fetches results, and knows which implementation ran.
class Harness : private OpTrace {
 public:
  Harness(std::unique_ptr<Device> device, const OpTable& table);

  [[nodiscard]] DType activation() const { return device_->caps().activation_dtype; }
  [[nodiscard]] Tensor put(const Values& values, const Shape& shape, DType dtype);
  [[nodiscard]] Tensor activations(const Values& values, const Shape& shape) {
    return put(values, shape, activation());
  }
  template <class Int>
  [[nodiscard]] Tensor ints(const std::vector<Int>& values, const Shape& shape, DType dtype = DType::kI32) {
    return put(Values(values.begin(), values.end()), shape, dtype);
  }
  // A result to be written: starts as a pattern no op produces, so that what was left unwritten shows.
  [[nodiscard]] Tensor output(const Shape& shape, DType dtype);
  [[nodiscard]] Tensor output(const Shape& shape) { return output(shape, activation()); }
  [[nodiscard]] Values get(const Tensor& tensor);   // quantised rows come as value times factor

  // Whether the backend has FP8 weights, and so quantised rows.
  [[nodiscard]] bool has_quantized() const { return full_table_.packing.has_f8e4m3; }
  // Whether the backend's table has the op; some may be absent.
  template <class Args>
  [[nodiscard]] bool offers(std::span<const OpImpl<Args>> OpTable::* member) const {
    return !(full_table_.*member).empty();
  }
  // What every op call needs, with the whole table.
  [[nodiscard]] OpContext context() const { return {*stream_, full_table_, device_->caps()}; }
  // Rows in e4m3 with their factors, as a backend must make them; to be written: outputs that start as garbage.
  [[nodiscard]] Tensor quantized(const Values& values, const Shape& shape);
  [[nodiscard]] Tensor quantized_output(const Shape& shape);
  // Scratch of the attention ops, zeroed; empty where the backend needs none.
  [[nodiscard]] Tensor attention_workspace(const AttentionLimits& limits);
  // What a step's metadata refers to, kept as long as the harness.
  [[nodiscard]] std::span<const PromptChunk> keep(std::vector<PromptChunk> chunks) {
    return chunks_.emplace_back(std::move(chunks));
  }

  // One packed weight of `num_matrices` groups, each stacking sources of the given numbers of rows.
  [[nodiscard]] PackedWeight pack(const Values& values, const std::vector<int64_t>& source_rows, int64_t num_cols,
                                  int64_t num_matrices, DType dtype, RowOrder order,
                                  WeightFormat format = WeightFormat::kAsIs);
  [[nodiscard]] PackedWeight pack_sources(const std::vector<Tensor>& sources, int64_t num_matrices, RowOrder order,
                                          WeightFormat format);
  [[nodiscard]] PackedWeight pack_one(const Tensor& source) {
    return pack_sources({source}, 1, RowOrder::kPlain, WeightFormat::kAsIs);
  }

  // Runs the op with the variant under test (or the first that supports the call) and checks that this one ran.
  template <class Args>
  void call(void (*op)(OpContext&, const Args&), std::span<const OpImpl<Args>> OpTable::* member, const Args& args) {
    const std::span<const OpImpl<Args>> all = full_table_.*member;
    const bool is_forced = variant_ < all.size() && all[variant_].supports(device_->caps(), args);
    table_.*member = is_forced ? all.subspan(variant_, 1) : all;
    const OpImpl<Args>* expected = choose(table_.*member, device_->caps(), args);
    ran_.clear();
    OpContext context{*stream_, table_, device_->caps(), this};
    op(context, args);
    stream_->synchronize();
    if (ran_.empty()) return;   // nothing to do, so nothing ran
    ASSERT_NE(expected, nullptr);
    ASSERT_EQ(ran_, expected->name);
  }

  // body() once for each implementation the table has of an op.
  template <class Args>
  void for_each_variant(std::span<const OpImpl<Args>> OpTable::* member, const std::function<void()>& body) {
    const auto& all = full_table_.*member;
    ASSERT_FALSE(all.empty());
    for (variant_ = 0; variant_ < all.size(); ++variant_) {
      SCOPED_TRACE(std::string(all[variant_].name));
      body();
    }
    variant_ = 0;
  }

 private:
  void ran(std::string_view, std::string_view implementation) override { ran_ = implementation; }
  [[nodiscard]] Tensor allocate(const Shape& shape, DType dtype);

  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  const OpTable& full_table_;
  OpTable table_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Arena> arenas_;
  std::list<std::vector<PromptChunk>> chunks_;
  size_t variant_ = 0;
  std::string ran_;
};

// The backend this executable tests.
[[nodiscard]] std::unique_ptr<Harness> make_harness();

// How far a result may be off, as a share of the largest value in its row. f32: sums of a few thousand products in
// another order differ by about sqrt(K) * 2^-24, and exponentials by 2 ulp. bf16: outputs are rounded to 8 bits once or
// twice.
[[nodiscard]] double tolerance_of(DType dtype);

// Compares element by element within the tolerance of `dtype`, the pattern of infinities and NaN exactly, and the
// direction of the whole, which catches errors that hide below a per-element bound.
void expect_close(const Values& got, const Values& want, int64_t width, DType dtype);

// An op's problem for the rule of equal bits: run(harness, begin, end) computes just those rows.
using RunRows = std::function<Values(Harness& harness, int64_t begin, int64_t end)>;

}  // namespace gale
