#include "layers/parameter_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "backends/cpu/cpu_backend.h"
#include "layers/workspace.h"
#include "tensor/convert.h"
#include "weights/checkpoint.h"

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

// This machine, but weights come to it as to a card: by many readers, through staging memory.
class CardOfHostMemory final : public Device {
 public:
  explicit CardOfHostMemory(Device& host) : host_(host), caps_(host.caps()) { caps_.kind = DeviceKind::kCuda; }
  [[nodiscard]] const DeviceCaps& caps() const override { return caps_; }
  [[nodiscard]] DeviceMemory memory() const override { return host_.memory(); }
  [[nodiscard]] std::unique_ptr<Stream> make_stream() override { return host_.make_stream(); }
  [[nodiscard]] Result<std::unique_ptr<Buffer>> allocate(MemoryKind kind, size_t num_bytes) override {
    return host_.allocate(kind, num_bytes);
  }
  void copy(Stream& stream, void* to, const void* from, size_t num_bytes) override {
    host_.copy(stream, to, from, num_bytes);
  }

 private:
  Device& host_;
  DeviceCaps caps_;
};

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  const auto* begin = static_cast<const std::byte*>(tensor.data);
  return {begin, begin + tensor.num_bytes()};
}

TEST_F(ParameterStoreTest, weights_that_many_readers_bring_are_those_that_lie_in_memory) {
  const Checkpoint files =
      Checkpoint::open(std::string(GALE_SOURCE_DIR) + "/tests/golden/models/data/glm4_moe_lite_bf16").value();
  std::vector<uint8_t> codes(24 * 40);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i % 120);
  std::vector<float> scales(24);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = 0.001f * static_cast<float>(i + 1);
  std::vector<uint16_t> table(size_t{1} << 20);   // large enough to go straight to its place
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint16_t>(i * 31);
  std::vector<const PackedWeight*> packed[2];
  const Tensor* tables[2];
  std::vector<std::unique_ptr<ParameterStore>> stores;
  for (int side = 0; side < 2; ++side) {
    ParameterStore& store = *stores.emplace_back(std::make_unique<ParameterStore>(DType::kF32));
    for (const auto& [name, tensor] : files.tensors()) {
      if (tensor->data.shape.rank() != 2 || tensor->data.dtype != DType::kBF16) continue;
      const Tensor& matrix = tensor->data;
      packed[side].push_back(store.add_matrices({matrix}, 1, RowOrder::kPlain));
      packed[side].push_back(store.add_matrices({matrix.slice(0, 0, 2).transposed(0, 1)}, 1, RowOrder::kPlain));
      packed[side].push_back(store.add_matrices({matrix, matrix}, 1, RowOrder::kGateUp));
    }
    Tensor scaled = Tensor::contiguous(codes.data(), DType::kF8E4M3, {24, 40});
    scaled.scales = scales.data();
    packed[side].push_back(store.add_matrices({scaled, scaled.slice(0, 3, 20)}, 1, RowOrder::kPlain));
    tables[side] = store.add_tensor({Tensor::contiguous(table.data(), DType::kBF16, {1024, 1024})}, DType::kBF16);
  }
  CardOfHostMemory card(*device_);
  ASSERT_TRUE(stores[0]->load(*device_, ops_, {}));
  std::vector<double> seen;
  ASSERT_TRUE(stores[1]->load(card, ops_, [&](double fraction) { seen.push_back(fraction); }, &files));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(stores[0]->num_bytes(), stores[1]->num_bytes());
  ASSERT_GT(packed[0].size(), 40u);
  for (size_t i = 0; i < packed[0].size(); ++i) {
    ASSERT_EQ(bytes_of(packed[0][i]->data), bytes_of(packed[1][i]->data)) << "weight " << i;
  }
  EXPECT_EQ(bytes_of(*tables[0]), bytes_of(*tables[1]));
}

TEST_F(ParameterStoreTest, random_biases_are_zero_unless_routers_shall_be_uneven) {
  for (const RandomRouting routing : {RandomRouting::kBalanced, RandomRouting::kZipf}) {
    ParameterStore store(DType::kF32);
    const auto declared = [](int64_t size) { return Tensor::contiguous(nullptr, DType::kF32, {size}); };
    const Tensor* norm = store.add_tensor({declared(4)}, DType::kF32);
    const Tensor* bias = store.add_tensor({declared(2), declared(2)}, DType::kF32, TensorUse::kBias);
    const Tensor* router_bias = store.add_router_bias(declared(16), 2);
    ASSERT_TRUE(store.load_random(*device_, ops_, {}, routing));
    const auto values = [](const Tensor* tensor) {
      return std::vector<float>(tensor->as<float>(), tensor->as<float>() + tensor->shape[0]);
    };
    EXPECT_EQ(values(norm), std::vector<float>(4, 1.0f));
    EXPECT_EQ(values(bias), std::vector<float>(4, 0.0f));
    EXPECT_EQ(values(router_bias), routing == RandomRouting::kZipf ? zipf_biases(16, 2) : std::vector<float>(16, 0.0f));
  }
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
