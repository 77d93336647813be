#include "support/harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/convert.h"

namespace gale {
namespace {

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto* first = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof(T));
}

void encode(std::vector<std::byte>& bytes, double value, DType dtype) {
  switch (dtype) {
    case DType::kF32: return append(bytes, static_cast<float>(value));
    case DType::kF16: return append(bytes, f32_to_f16(static_cast<float>(value)));
    case DType::kBF16: return append(bytes, f32_to_bf16(static_cast<float>(value)));
    case DType::kF8E4M3: return append(bytes, f32_to_f8e4m3(static_cast<float>(value)));
    case DType::kI32: return append(bytes, static_cast<int32_t>(value));
    case DType::kI64: return append(bytes, static_cast<int64_t>(value));
    case DType::kU32: return append(bytes, static_cast<uint32_t>(value));
    case DType::kU8: return append(bytes, static_cast<uint8_t>(value));
  }
}

template <class T>
T element(const std::vector<std::byte>& bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

double decode(const std::vector<std::byte>& bytes, size_t i, DType dtype) {
  switch (dtype) {
    case DType::kF32: return static_cast<double>(element<float>(bytes, i));
    case DType::kF16: return static_cast<double>(f16_to_f32(element<uint16_t>(bytes, i)));
    case DType::kBF16: return static_cast<double>(bf16_to_f32(element<uint16_t>(bytes, i)));
    case DType::kF8E4M3: return static_cast<double>(f8e4m3_to_f32(element<uint8_t>(bytes, i)));
    case DType::kI32: return static_cast<double>(element<int32_t>(bytes, i));
    case DType::kI64: return static_cast<double>(element<int64_t>(bytes, i));
    case DType::kU32: return static_cast<double>(element<uint32_t>(bytes, i));
    case DType::kU8: return static_cast<double>(element<uint8_t>(bytes, i));
  }
  return 0;
}

}  // namespace

Values random_values(int64_t count, uint64_t seed, DType dtype, double spread) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<std::byte> bytes;
  for (int64_t i = 0; i < count; ++i) encode(bytes, normal(random), dtype);
  Values values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode(bytes, i, dtype);
  return values;
}

QuantizedValues quantize_values(const Values& values, int64_t width) {
  QuantizedValues out{.values = values, .factors = {}};
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(width)) {
    float largest = 0;
    for (size_t i = begin; i < begin + static_cast<size_t>(width); ++i)
      largest = std::max(largest, std::abs(static_cast<float>(values[i])));
    const float factor = largest > 0 ? largest / kF8E4M3Max : 1.0f;
    for (size_t i = begin; i < begin + static_cast<size_t>(width); ++i) {
      out.values[i] = static_cast<double>(f8e4m3_to_f32(f32_to_f8e4m3(static_cast<float>(values[i]) / factor))) *
                      static_cast<double>(factor);
    }
    out.factors.push_back(static_cast<double>(factor));
  }
  return out;
}

std::vector<int> random_ints(int64_t count, uint64_t seed, int end) {
  std::mt19937_64 random(seed);
  std::vector<int> values(static_cast<size_t>(count));
  for (int& value : values) value = static_cast<int>(random() % static_cast<uint64_t>(end));
  return values;
}

Values slice_of(const Values& values, int64_t begin, int64_t end, int64_t width) {
  return {values.begin() + begin * width, values.begin() + end * width};
}

Harness::Harness(std::unique_ptr<Device> device, const OpTable& table)
    : device_(std::move(device)), stream_(device_->make_stream()), full_table_(table), table_(table) {}

Tensor Harness::allocate(const Shape& shape, DType dtype) {
  auto buffer = device_->allocate(MemoryKind::kDevice, static_cast<size_t>(shape.num_elements()) * size_of(dtype));
  CHECK(buffer, "{}", buffer.error().message);
  buffers_.push_back(std::move(*buffer));
  return Tensor::contiguous(buffers_.back()->data(), dtype, shape);
}

Tensor Harness::put(const Values& values, const Shape& shape, DType dtype) {
  CHECK(static_cast<int64_t>(values.size()) == shape.num_elements(), "{} values for {}", values.size(),
        shape.to_string());
  std::vector<std::byte> bytes;
  for (const double value : values) encode(bytes, value, dtype);
  const Tensor tensor = allocate(shape, dtype);
  device_->copy(*stream_, tensor.data, bytes.data(), bytes.size());
  stream_->synchronize();
  return tensor;
}

Tensor Harness::output(const Shape& shape, DType dtype) {
  return put(Values(static_cast<size_t>(shape.num_elements()), -12345.0), shape, dtype);
}

Tensor Harness::quantized(const Values& values, const Shape& shape) {
  const int64_t width = shape[shape.rank() - 1];
  const QuantizedValues rounded = quantize_values(values, width);
  Values codes = rounded.values;
  for (size_t i = 0; i < codes.size(); ++i) codes[i] /= rounded.factors[i / static_cast<size_t>(width)];
  Tensor tensor = put(codes, shape, DType::kF8E4M3);
  tensor.scales = put(rounded.factors, {static_cast<int64_t>(rounded.factors.size())}, DType::kF32).as<float>();
  return tensor;
}

Tensor Harness::quantized_output(const Shape& shape) {
  Tensor tensor = output(shape, DType::kF8E4M3);
  tensor.scales = output({shape.num_elements() / shape[shape.rank() - 1]}, DType::kF32).as<float>();
  return tensor;
}

Tensor Harness::attention_workspace(const AttentionLimits& limits) {
  const OpContext context{*stream_, full_table_, device_->caps()};
  const auto num_bytes = static_cast<int64_t>(attention_workspace_bytes(context, limits));
  return num_bytes == 0 ? Tensor{} : allocate({num_bytes}, DType::kU8);   // a device's memory starts as zeros
}

Values Harness::get(const Tensor& tensor) {
  CHECK(tensor.is_contiguous(), "fetching a strided {}", tensor.describe());
  std::vector<std::byte> bytes(tensor.num_bytes());
  device_->copy(*stream_, bytes.data(), tensor.data, bytes.size());
  stream_->synchronize();
  Values values(static_cast<size_t>(tensor.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = decode(bytes, i, tensor.dtype);
  if (tensor.scales == nullptr || values.empty()) return values;
  const auto width = static_cast<size_t>(tensor.shape[tensor.shape.rank() - 1]);
  const Values factors =
      get(Tensor::contiguous(tensor.scales, DType::kF32, {static_cast<int64_t>(values.size() / width)}));
  for (size_t i = 0; i < values.size(); ++i) values[i] *= factors[i / width];
  return values;
}

PackedWeight Harness::pack(const Values& values, const std::vector<int64_t>& source_rows, int64_t num_cols,
                           int64_t num_matrices, DType dtype, RowOrder order, WeightFormat format) {
  std::vector<Tensor> sources;
  int64_t begin = 0;
  for (int64_t matrix = 0; matrix < num_matrices; ++matrix) {
    for (const int64_t rows : source_rows) {
      sources.push_back(put(slice_of(values, begin, begin + rows, num_cols), {rows, num_cols}, dtype));
      begin += rows;
    }
  }
  return pack_sources(sources, num_matrices, order, format);
}

PackedWeight Harness::pack_sources(const std::vector<Tensor>& sources, int64_t num_matrices, RowOrder order,
                                   WeightFormat format) {
  int64_t num_rows = 0;
  for (const Tensor& source : sources) num_rows += source.shape[0];
  num_rows /= num_matrices;
  OpContext context{*stream_, full_table_, device_->caps()};
  const size_t bytes =
      packed_linear_bytes(context, {num_matrices, num_rows, sources[0].shape[1], sources[0].dtype, order, format});
  auto arena = Arena::create(*device_, MemoryKind::kDevice, bytes);
  CHECK(arena, "{}", arena.error().message);
  arenas_.push_back(std::move(*arena));
  PackedWeight weight;
  pack_linear(context, arenas_.back(),
              {.out = &weight, .sources = sources, .num_matrices = num_matrices, .order = order, .format = format});
  stream_->synchronize();
  EXPECT_EQ(arenas_.back().used_bytes(), Arena::padded(bytes));
  return weight;
}

double tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::kBF16: return 0x1p-6;
    case DType::kF16: return 0x1p-9;
    case DType::kF8E4M3: return 0x1p-3;
    default: return 2e-5;
  }
}

void expect_close(const Values& got, const Values& want, int64_t width, DType dtype) {
  ASSERT_EQ(got.size(), want.size());
  double dot = 0, got_norm = 0, want_norm = 0;
  for (size_t row = 0; row * static_cast<size_t>(width) < want.size(); ++row) {
    const size_t begin = row * static_cast<size_t>(width), end = begin + static_cast<size_t>(width);
    double largest = 1e-3;
    for (size_t i = begin; i < end; ++i) {
      if (std::isfinite(want[i])) largest = std::max(largest, std::abs(want[i]));
    }
    for (size_t i = begin; i < end; ++i) {
      if (!std::isfinite(want[i])) {
        ASSERT_EQ(std::isnan(got[i]), std::isnan(want[i])) << "row " << row << ", element " << i - begin;
        if (std::isinf(want[i])) {
          ASSERT_EQ(got[i], want[i]) << "row " << row << ", element " << i - begin;
        }
        continue;
      }
      ASSERT_NEAR(got[i], want[i], largest * tolerance_of(dtype)) << "row " << row << ", element " << i - begin;
      dot += got[i] * want[i];
      got_norm += got[i] * got[i];
      want_norm += want[i] * want[i];
    }
  }
  if (want_norm > 0) {
    EXPECT_GT(dot / std::sqrt(got_norm * want_norm), 1 - tolerance_of(dtype) / 4);
  }
}

}  // namespace gale
