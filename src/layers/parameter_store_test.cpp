#include "layers/parameter_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "backends/cpu/cpu_backend.h"
#include "layers/workspace.h"
#include "tensor/convert.h"

namespace gale {
namespace {

class ParameterStoreTest : public testing::Test {
 protected:
  std::unique_ptr<Device> device_ = make_cpu_device(1);
  std::unique_ptr<Stream> stream_ = device_->make_stream();
  OpContext ops_{.stream = *stream_, .table = cpu_op_table(), .caps = device_->caps()};
};

Tensor host(std::vector<float>& values, const Shape& shape) {
  return Tensor::contiguous(values.data(), DType::kF32, shape);
}

TEST_F(ParameterStoreTest, joins_and_widens_tensors) {
  std::vector<float> first = {1, 2};
  std::vector<uint16_t> second = {f32_to_bf16(3.5f)};
  std::vector<uint16_t> third = {f32_to_f16(-0.25f)};
  ParameterStore store(DType::kF32);
  const Tensor* joined = store.add_tensor({host(first, {2}), Tensor::contiguous(second.data(), DType::kBF16, {1}),
                                           Tensor::contiguous(third.data(), DType::kF16, {1})}, DType::kF32);
  ASSERT_TRUE(store.load(*device_, ops_, {}));
  EXPECT_EQ(joined->shape, Shape({4}));
  EXPECT_EQ(std::vector<float>(joined->as<float>(), joined->as<float>() + 4), (std::vector<float>{1, 2, 3.5f, -0.25f}));
}

TEST_F(ParameterStoreTest, packs_stacked_and_transposed_sources) {
  std::vector<float> top = {1, 2, 3, 4, 5, 6};        // [2, 3]
  std::vector<float> side = {7, 8, 9};                // [3, 1], used transposed: [1, 3]
  ParameterStore store(DType::kF32);
  const PackedWeight* weight =
      store.add_matrices({host(top, {2, 3}), host(side, {3, 1}).transposed(0, 1)}, 1, RowOrder::kPlain);
  ASSERT_TRUE(store.load(*device_, ops_, {}));
  std::vector<float> in = {1, 10, 100}, out(3);
  linear(ops_, {.out = host(out, {1, 3}), .in = host(in, {1, 3}), .weight = weight});
  EXPECT_EQ(out, (std::vector<float>{321, 654, 987}));
}

TEST_F(ParameterStoreTest, reports_growing_progress_up_to_one) {
  std::vector<float> values(64, 1.0f);
  ParameterStore store(DType::kF32);
  for (int i = 0; i < 3; ++i) store.add_tensor({host(values, {64})}, DType::kF32);
  std::vector<double> seen;
  ASSERT_TRUE(store.load(*device_, ops_, [&](double fraction) { seen.push_back(fraction); }));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 1.0);
  EXPECT_GE(store.num_bytes(), 3 * 64 * sizeof(float));
}

TEST_F(ParameterStoreTest, workspace_scope_gives_back_what_the_meter_counts) {
  Arena arena = Arena::create(*device_, MemoryKind::kDevice, 4096).value();
  const auto take = [](auto& allocator) {
    std::ignore = allocator.allocate(DType::kF32, {3, 5});
    std::ignore = allocator.allocate(DType::kI32, {100});
  };
  ArenaMeter meter;
  take(meter);
  {
    const WorkspaceScope scope(arena);
    take(arena);
    EXPECT_EQ(arena.used_bytes(), meter.bytes());
  }
  EXPECT_EQ(arena.used_bytes(), 0u);
}

}  // namespace
}  // namespace gale
