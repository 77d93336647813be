#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "tensor/device.h"

namespace gale {
namespace {

std::vector<float> counted(size_t size) {
  std::vector<float> values(size);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(Shape, counts_prints_and_compares) {
  const Shape shape{3, 4, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.num_elements(), 60);
  EXPECT_EQ(shape.to_string(), "[3, 4, 5]");
  EXPECT_EQ(Shape().num_elements(), 1);
  EXPECT_EQ((Shape{3, 0}).num_elements(), 0);
  EXPECT_EQ(shape, (Shape{3, 4, 5}));
  EXPECT_FALSE(shape == (Shape{3, 4}));
  EXPECT_FALSE(shape == (Shape{3, 4, 6}));
}

TEST(ShapeDeathTest, rejects_a_sixth_extent_and_a_missing_dim) {
  EXPECT_DEATH((Shape{1, 2, 3, 4, 5, 6}), "rank 6");
  const Shape shape{2, 3};
  EXPECT_DEATH((void)shape[2], "dim 2 of rank 2");
}

TEST(Tensor, slices_and_indexes_without_copying) {
  std::vector<float> values = counted(24);
  const Tensor tensor = Tensor::contiguous(values.data(), DType::kF32, {4, 6});
  EXPECT_EQ(tensor.num_bytes(), 96u);
  EXPECT_EQ(tensor.describe(), "f32 [4, 6]");

  const Tensor columns = tensor.slice(1, 2, 5);
  EXPECT_EQ(columns.shape, (Shape{4, 3}));
  EXPECT_FALSE(columns.is_contiguous());
  EXPECT_EQ(columns.row<float>(3)[1], 21.0f);

  const Tensor rows = tensor.slice(0, 1, 3);
  EXPECT_TRUE(rows.is_contiguous());
  EXPECT_EQ(rows.row<float>(1)[5], 17.0f);

  const Tensor row = tensor[2];
  EXPECT_EQ(row.shape, (Shape{6}));
  EXPECT_EQ(row.as<float>()[0], 12.0f);
}

TEST(Tensor, views_and_transposes) {
  std::vector<float> values = counted(24);
  const Tensor tensor = Tensor::contiguous(values.data(), DType::kF32, {4, 6});
  const Tensor view = tensor.view({2, 2, 6});
  EXPECT_EQ(view[1][1].as<float>()[3], 21.0f);

  const Tensor flipped = tensor.transposed(0, 1);
  EXPECT_EQ(flipped.shape, (Shape{6, 4}));
  EXPECT_EQ(flipped.strides, (Shape{1, 6}));
  EXPECT_FALSE(flipped.is_contiguous());
  EXPECT_EQ(flipped.row<float>(2)[0], 2.0f);
}

TEST(Tensor, empty_views_stay_legal) {
  const Tensor nothing = Tensor::contiguous(nullptr, DType::kBF16, {0, 8});
  EXPECT_TRUE(nothing.is_empty());
  EXPECT_TRUE(nothing.is_contiguous());
  EXPECT_TRUE(nothing.slice(1, 2, 4).is_empty());
  EXPECT_TRUE(nothing.view({8, 0}).is_empty());
  EXPECT_TRUE(Tensor().is_empty());
}

TEST(TensorDeathTest, names_what_does_not_fit) {
  std::vector<float> values = counted(24);
  const Tensor tensor = Tensor::contiguous(values.data(), DType::kF32, {4, 6});
  EXPECT_DEATH((void)tensor.as<int32_t>(), "tensor is f32");
  EXPECT_DEATH((void)tensor.slice(1, 4, 7), "slice 4 … 7 of dim 1 of f32 \\[4, 6\\]");
  EXPECT_DEATH((void)tensor.view({5, 5}), "view of f32 \\[4, 6\\] as \\[5, 5\\]");
  EXPECT_DEATH((void)tensor.slice(1, 0, 2).view({8}), "strided");
  EXPECT_DEATH((void)tensor[4], "index 4");
}

TEST(Arena, hands_out_aligned_zeroed_pieces_front_to_back) {
  const std::unique_ptr<Device> device = make_null_device();
  Result<Arena> arena = Arena::create(*device, MemoryKind::kDevice, 1024);
  ASSERT_TRUE(arena);
  const Tensor first = arena->allocate(DType::kF32, {3});
  const Tensor second = arena->allocate(DType::kU8, {300});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data) % Arena::kAlignment, 0u);
  EXPECT_EQ(static_cast<std::byte*>(second.data) - static_cast<std::byte*>(first.data), 256);
  EXPECT_EQ(arena->used_bytes(), 768u);
  EXPECT_EQ(first.as<float>()[2], 0.0f);
  std::memset(second.data, 1, second.num_bytes());
  arena->reset();
  EXPECT_EQ(arena->allocate(DType::kF32, {3}).data, first.data);
}

TEST(ArenaDeathTest, says_what_did_not_fit) {
  const std::unique_ptr<Device> device = make_null_device();
  Result<Arena> arena = Arena::create(*device, MemoryKind::kDevice, 512);
  ASSERT_TRUE(arena);
  EXPECT_DEATH((void)arena->allocate(DType::kF32, {129}), "f32 \\[129\\] needs 768 bytes, the arena has 512");
}

TEST(NullDevice, refuses_more_memory_than_the_machine_has) {
  const std::unique_ptr<Device> device = make_null_device();
  const auto buffer = device->allocate(MemoryKind::kDevice, size_t{1} << 60);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().code, ErrorCode::kOutOfMemory);
  EXPECT_GT(device->memory().total_bytes, device->memory().free_bytes / 2);
}

TEST(NullDeviceDeathTest, has_no_graphs) {
  const std::unique_ptr<Device> device = make_null_device();
  EXPECT_EQ(device->caps().kind, DeviceKind::kNull);
  EXPECT_TRUE(device->make_stream()->record()->is_done());
  EXPECT_DEATH(device->make_stream()->begin_capture(), "no graphs");
}

}  // namespace
}  // namespace gale
