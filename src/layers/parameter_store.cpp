#include "layers/parameter_store.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ops/op_table.h"
#include "tensor/convert.h"

namespace gale {
namespace {

constexpr uint64_t kSeed = 20260101;            // of random weights
constexpr float kMatrixSpread = 0.5f;

PackShape pack_shape(const std::vector<Tensor>& sources, int64_t num_matrices, RowOrder order, WeightFormat format) {
  const auto per_matrix = static_cast<std::ptrdiff_t>(sources.size()) / num_matrices;
  int64_t rows = 0;
  for (auto source = sources.begin(); source != sources.begin() + per_matrix; ++source) rows += source->shape[0];
  return {num_matrices, rows, sources.front().shape[1], sources.front().dtype, order, format};
}

size_t padded_bytes(const std::vector<Tensor>& tensors) {
  size_t sum = 0;
  for (const Tensor& tensor : tensors) sum += Arena::padded(tensor.num_bytes());
  return sum;
}

float element(const Tensor& tensor, int64_t index) {
  switch (tensor.dtype) {
    case DType::kF32: return tensor.as<float>()[index];
    case DType::kBF16: return bf16_to_f32(tensor.as<uint16_t>()[index]);
    case DType::kF16: return f16_to_f32(tensor.as<uint16_t>()[index]);
    case DType::kF8E4M3: case DType::kI32: case DType::kI64: case DType::kU32: case DType::kU8: break;
  }
  CHECK(false, "{} is no floating-point weight", tensor.describe());
}

void store_element(std::byte* to, DType dtype, float value) {
  if (dtype == DType::kF32) {
    std::memcpy(to, &value, sizeof value);
  } else {
    CHECK(dtype == DType::kBF16, "weights are not converted to {}", name_of(dtype));
    const uint16_t bits = f32_to_bf16(value);
    std::memcpy(to, &bits, sizeof bits);
  }
}

// The elements of contiguous host tensors one after the other as `dtype`; equal types are copied.
std::vector<std::byte> join_converted(const std::vector<Tensor>& sources, DType dtype) {
  std::vector<std::byte> out;
  for (const Tensor& source : sources) {
    CHECK(source.is_contiguous(), "{} is strided", source.describe());
    const size_t begin = out.size(), step = size_of(dtype);
    out.resize(begin + static_cast<size_t>(source.num_elements()) * step);
    if (source.dtype == dtype) {
      std::memcpy(out.data() + begin, source.data, source.num_bytes());
      continue;
    }
    for (int64_t i = 0; i < source.num_elements(); ++i) {
      store_element(out.data() + begin + static_cast<size_t>(i) * step, dtype, element(source, i));
    }
  }
  return out;
}

}  // namespace

// Where a backend wants the sources of a packing: host memory as it is, a copy on the device, or random numbers.
class ParameterStore::Staging {
 public:
  static Result<Staging> create(Device& device, OpContext& ops, const std::deque<Matrices>& all, bool is_random) {
    if (device.caps().kind != DeviceKind::kCuda && !is_random) return Staging(device, ops, std::nullopt, false);
    size_t largest = 0;
    for (const Matrices& item : all) largest = std::max(largest, padded_bytes(item.sources));
    GALE_ASSIGN(Arena arena, Arena::create(device, MemoryKind::kDevice, largest));
    return Staging(device, ops, std::move(arena), is_random);
  }

  std::vector<Tensor> stage(const std::vector<Tensor>& sources) {
    if (!arena_) return sources;
    ops_.stream.synchronize();   // the packing before this one has read its sources
    arena_->reset();
    std::vector<Tensor> staged;
    for (const Tensor& source : sources) staged.push_back(copy(source));
    return staged;
  }

 private:
  Staging(Device& device, OpContext& ops, std::optional<Arena> arena, bool is_random)
      : device_(device), ops_(ops), arena_(std::move(arena)), is_random_(is_random) {}

  // Sources are slices of rows or transposed slices of rows: dense in memory either way.
  Tensor copy(const Tensor& source) {
    const bool is_transposed = !source.is_contiguous();
    const Tensor dense = is_transposed ? source.transposed(0, 1) : source;
    CHECK(dense.is_contiguous(), "{} is neither dense nor transposed", source.describe());
    const Tensor staged = arena_->allocate(dense.dtype, dense.shape);
    if (is_random_) {
      const auto num_cols = static_cast<float>(source.shape[1]);
      ops_.table.fill_random(ops_.stream, staged, kSeed + num_filled_++, kMatrixSpread / std::sqrt(num_cols));
    } else {
      device_.copy(ops_.stream, staged.data, dense.data, dense.num_bytes());
    }
    return is_transposed ? staged.transposed(0, 1) : staged;
  }

  Device& device_;
  OpContext& ops_;
  std::optional<Arena> arena_;
  bool is_random_;
  uint64_t num_filled_ = 0;
};

const PackedWeight* ParameterStore::add_matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order, WeightFormat format) {
  CHECK(num_matrices > 0 && !sources.empty() && static_cast<int64_t>(sources.size()) % num_matrices == 0,
        "{} sources for {} matrices", sources.size(), num_matrices);
  matrices_.push_back({{}, std::move(sources), num_matrices, order, format});
  return &matrices_.back().packed;
}

const Tensor* ParameterStore::add_tensor(std::vector<Tensor> sources, DType dtype) {
  CHECK(!sources.empty(), "nothing to join");
  Shape shape = sources.front().shape;
  int64_t extent = 0;
  for (const Tensor& source : sources) extent += source.shape[0];
  shape.set(0, extent);
  joined_.push_back({Tensor::contiguous(nullptr, dtype, shape), std::move(sources)});
  return &joined_.back().tensor;
}

size_t ParameterStore::bytes_needed(OpContext& ops) const {
  size_t sum = 0;
  for (const Joined& item : joined_) sum += Arena::padded(item.tensor.num_bytes());
  for (const Matrices& item : matrices_) {
    sum += Arena::padded(packed_linear_bytes(ops, pack_shape(item.sources, item.num_matrices, item.order, item.format)));
  }
  return sum;
}

Status ParameterStore::load(Device& device, OpContext& ops, const std::function<void(double)>& on_progress) {
  return load_all(device, ops, on_progress, false);
}

Status ParameterStore::load_random(Device& device, OpContext& ops, const std::function<void(double)>& on_progress) {
  return load_all(device, ops, on_progress, true);
}

Status ParameterStore::load_joined(Device& device, OpContext& ops, Arena& arena, Joined& item, uint64_t seed) const {
  item.tensor = arena.allocate(item.tensor.dtype, item.tensor.shape);
  const bool is_random = item.sources.front().data == nullptr;
  if (is_random && item.tensor.shape.rank() > 1) {
    ops.table.fill_random(ops.stream, item.tensor, seed, 1.0f);
    return {};
  }
  std::vector<float> ones;
  if (is_random) {
    ones.assign(static_cast<size_t>(item.tensor.num_elements()), 1.0f);
    item.sources = {Tensor::contiguous(ones.data(), DType::kF32, item.tensor.shape)};
  }
  const std::vector<std::byte> host = join_converted(item.sources, item.tensor.dtype);
  device.copy(ops.stream, item.tensor.data, host.data(), host.size());
  ops.stream.synchronize();   // `host` ends here
  return {};
}

Status ParameterStore::load_all(Device& device, OpContext& ops, const std::function<void(double)>& on_progress, bool is_random) {
  CHECK(!arena_, "weights are loaded once");
  if (!supports_weight_format(ops, format_)) {
    return fail(ErrorCode::kUnimplemented, "{} cannot compute with FP8 weights: leave --quantization away, or use a GPU", device.caps().name);
  }
  GALE_ASSIGN(Arena arena, Arena::create(device, MemoryKind::kDevice, bytes_needed(ops)));
  const auto report = [&] {
    if (on_progress) on_progress(static_cast<double>(arena.used_bytes()) / static_cast<double>(arena.capacity_bytes()));
  };
  uint64_t seed = kSeed << 32;
  for (Joined& item : joined_) {
    GALE_TRY(load_joined(device, ops, arena, item, seed++));
    std::exchange(item.sources, {});
    report();
  }
  GALE_ASSIGN(Staging staging, Staging::create(device, ops, matrices_, is_random));
  for (Matrices& item : matrices_) {
    const std::vector<Tensor> sources = staging.stage(item.sources);
    pack_linear(ops, arena, {.out = &item.packed, .sources = sources, .num_matrices = item.num_matrices, .order = item.order,
                             .format = item.format});
    std::exchange(item.sources, {});
    report();
  }
  ops.stream.synchronize();
  arena_.emplace(std::move(arena));
  if (on_progress) on_progress(1.0);
  return {};
}

}  // namespace gale
