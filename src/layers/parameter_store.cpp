#include "layers/parameter_store.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ops/op_table.h"
#include "tensor/convert.h"
#include "weights/parallel_reader.h"

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

size_t scale_bytes(const Tensor& matrix) { return static_cast<size_t>(matrix.shape[0]) * sizeof(float); }

size_t padded_bytes(const std::vector<Tensor>& tensors) {
  size_t sum = 0;
  for (const Tensor& tensor : tensors) {
    sum += Arena::padded(tensor.num_bytes());
    if (tensor.scales != nullptr) sum += Arena::padded(scale_bytes(tensor));
  }
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

namespace {

constexpr size_t kLargeTable = size_t{1} << 20;   // bytes from which a table is worth many threads

// Sources are slices of rows or transposed slices of rows: dense in memory either way.
Tensor dense(const Tensor& source) {
  const Tensor out = source.is_contiguous() ? source : source.transposed(0, 1);
  CHECK(out.is_contiguous(), "{} is neither dense nor transposed", source.describe());
  return out;
}

// Places for copies of the sources, which may be scaled, and what has to be copied there.
std::vector<Tensor> place_sources(const std::vector<Tensor>& sources, Arena& arena, std::vector<Transfer>& transfers) {
  std::vector<Tensor> placed;
  for (const Tensor& source : sources) {
    const Tensor from = dense(source);
    Tensor to = arena.allocate(from.dtype, from.shape);
    transfers.push_back({from.data, to.data, from.num_bytes()});
    if (source.scales != nullptr) {
      to.scales = arena.allocate(DType::kF32, {source.shape[0]}).as<float>();
      transfers.push_back({source.scales, to.scales, scale_bytes(source)});
    }
    placed.push_back(source.is_contiguous() ? to : to.transposed(0, 1));
  }
  return placed;
}

}  // namespace

const PackedWeight* ParameterStore::add_matrices(std::vector<Tensor> sources, int64_t num_matrices, RowOrder order,
                                                 WeightFormat format) {
  CHECK(num_matrices > 0 && !sources.empty() && static_cast<int64_t>(sources.size()) % num_matrices == 0,
        "{} sources for {} matrices", sources.size(), num_matrices);
  matrices_.push_back({{}, std::move(sources), num_matrices, order, format});
  return &matrices_.back().packed;
}

const Tensor* ParameterStore::add_tensor(std::vector<Tensor> sources, DType dtype, TensorUse use) {
  CHECK(!sources.empty(), "nothing to join");
  Shape shape = sources.front().shape;
  int64_t extent = 0;
  for (const Tensor& source : sources) extent += source.shape[0];
  shape.set(0, extent);
  joined_.push_back({Tensor::contiguous(nullptr, dtype, shape), std::move(sources), use, 0});
  return &joined_.back().tensor;
}

const Tensor* ParameterStore::add_router_bias(const Tensor& source, int num_chosen) {
  joined_.push_back({Tensor::contiguous(nullptr, DType::kF32, source.shape), {source}, TensorUse::kBias, num_chosen});
  return &joined_.back().tensor;
}

std::vector<PackShape> ParameterStore::matrix_shapes() const {
  std::vector<PackShape> shapes;
  for (const Matrices& item : matrices_)
    shapes.push_back(pack_shape(item.sources, item.num_matrices, item.order, item.format));
  return shapes;
}

size_t ParameterStore::bytes_needed(OpContext& ops) const {
  size_t sum = 0;
  for (const Joined& item : joined_) sum += Arena::padded(item.tensor.num_bytes());
  for (const Matrices& item : matrices_) {
    sum +=
        Arena::padded(packed_linear_bytes(ops, pack_shape(item.sources, item.num_matrices, item.order, item.format)));
  }
  return sum;
}

size_t ParameterStore::largest_sources() const {
  size_t largest = 0;
  for (const Matrices& item : matrices_) largest = std::max(largest, padded_bytes(item.sources));
  return largest;
}

size_t ParameterStore::staging_bytes(const Device& device, bool is_random) const {
  if (device.caps().kind == DeviceKind::kCuda) return (is_random ? 1 : 2) * largest_sources();
  return is_random ? largest_sources() : 0;
}

Status ParameterStore::load(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
                            const Checkpoint* files) {
  return load_all(device, ops, on_progress, files, std::nullopt);
}

Status ParameterStore::load_random(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
                                   RandomRouting routing) {
  return load_all(device, ops, on_progress, nullptr, routing);
}

const std::vector<float>& ParameterStore::skewed_biases(int64_t num_experts, int num_chosen) {
  std::vector<float>& biases = skewed_biases_[{num_experts, num_chosen}];
  if (biases.empty()) biases = zipf_biases(static_cast<int>(num_experts), num_chosen);
  return biases;
}

Status ParameterStore::load_joined(Device& device, OpContext& ops, Arena& arena, Joined& item, uint64_t seed,
                                   RandomRouting routing) {
  item.tensor = arena.allocate(item.tensor.dtype, item.tensor.shape);
  const bool is_random = item.sources.front().data == nullptr;
  if (is_random && item.tensor.shape.rank() > 1) {
    const auto width = static_cast<float>(item.tensor.shape[item.tensor.shape.rank() - 1]);
    ops.table.fill_random(ops.stream, item.tensor, seed,
                          item.use == TensorUse::kFactor ? 1 / std::sqrt(width) : 1.0f);
    return {};
  }
  std::vector<float> values;
  if (is_random) {
    const int64_t size = item.tensor.num_elements();
    values = item.num_chosen > 0 && routing == RandomRouting::kZipf
                 ? skewed_biases(size, item.num_chosen)
                 : std::vector<float>(static_cast<size_t>(size), item.use == TensorUse::kBias ? 0.0f : 1.0f);
    item.sources = {Tensor::contiguous(values.data(), DType::kF32, item.tensor.shape)};
  }
  const std::vector<std::byte> host = join_converted(item.sources, item.tensor.dtype);
  device.copy(ops.stream, item.tensor.data, host.data(), host.size());
  ops.stream.synchronize();   // `host` ends here
  return {};
}

// Tables that go to the device as they lie in their file, with what many threads read.
bool ParameterStore::is_large_table(const Joined& item) {
  return item.sources.size() == 1 && item.sources[0].data != nullptr && item.sources[0].dtype == item.tensor.dtype &&
         item.sources[0].is_contiguous() && item.tensor.num_bytes() >= kLargeTable;
}

void ParameterStore::pack(OpContext& ops, Arena& arena, Matrices& item, std::span<const Tensor> sources) {
  pack_linear(ops, arena,
              {.out = &item.packed,
               .sources = sources,
               .num_matrices = item.num_matrices,
               .order = item.order,
               .format = item.format});
  std::exchange(item.sources, {});
}

// The device packs one group of matrices while threads read the next into the other half of the staging memory.
Status ParameterStore::load_in_parallel(Device& device, OpContext& ops, Arena& arena, const Checkpoint* files,
                                        const std::function<void()>& report) {
  const size_t half = largest_sources();
  GALE_ASSIGN(Arena even, Arena::create(device, MemoryKind::kDevice, half));
  GALE_ASSIGN(Arena odd, Arena::create(device, MemoryKind::kDevice, half));
  std::vector<std::vector<Transfer>> groups(1);          // the tables, then a group each of the matrices
  for (Joined& item : joined_) {
    if (!is_large_table(item)) continue;
    item.tensor = arena.allocate(item.tensor.dtype, item.tensor.shape);
    groups[0].push_back({item.sources[0].data, item.tensor.data, item.tensor.num_bytes()});
  }
  std::vector<std::vector<Tensor>> staged;
  for (const Matrices& item : matrices_) {
    Arena& staging = staged.size() % 2 == 0 ? even : odd;
    staging.reset();
    staged.push_back(place_sources(item.sources, staging, groups.emplace_back()));
  }
  GALE_ASSIGN(const std::unique_ptr<ParallelReader> reader, ParallelReader::start(device, files, groups, {}));
  GALE_TRY(reader->wait_for(0));
  reader->release(0);
  report();
  for (size_t i = 0; i < matrices_.size(); ++i) {
    GALE_TRY(reader->wait_for(i + 1));
    pack(ops, arena, matrices_[i], staged[i]);
    ops.stream.synchronize();                            // the staging memory is free again
    reader->release(i + 1);
    report();
  }
  return {};
}

Status ParameterStore::load_random_matrices(Device& device, OpContext& ops, Arena& arena,
                                            const std::function<void()>& report) {
  GALE_ASSIGN(Arena staging, Arena::create(device, MemoryKind::kDevice, largest_sources()));
  uint64_t seed = kSeed;
  for (Matrices& item : matrices_) {
    ops.stream.synchronize();                            // the packing before this one has read its sources
    staging.reset();
    std::vector<Transfer> not_needed;
    const std::vector<Tensor> sources = place_sources(item.sources, staging, not_needed);
    for (const Tensor& source : sources)
      ops.table.fill_random(ops.stream, dense(source), seed++,
                            kMatrixSpread / std::sqrt(static_cast<float>(source.shape[1])));
    pack(ops, arena, item, sources);
    report();
  }
  ops.stream.synchronize();
  return {};
}

Status ParameterStore::load_all(Device& device, OpContext& ops, const std::function<void(double)>& on_progress,
                                const Checkpoint* files, std::optional<RandomRouting> random) {
  CHECK(!arena_, "weights are loaded once");
  if (!supports_weight_format(ops, format_)) {
    return fail(ErrorCode::kUnimplemented,
                "{} cannot compute with FP8 weights: leave --quantization away, or use a GPU", device.caps().name);
  }
  GALE_ASSIGN(Arena arena, Arena::create(device, MemoryKind::kDevice, bytes_needed(ops)));
  const std::function<void()> report = [&] {
    if (on_progress) on_progress(static_cast<double>(arena.used_bytes()) / static_cast<double>(arena.capacity_bytes()));
  };
  const bool is_parallel = device.caps().kind == DeviceKind::kCuda && !random;
  uint64_t seed = kSeed << 32;
  for (Joined& item : joined_) {
    if (is_parallel && is_large_table(item)) continue;
    GALE_TRY(load_joined(device, ops, arena, item, seed++, random.value_or(RandomRouting::kBalanced)));
    std::exchange(item.sources, {});
    report();
  }
  if (is_parallel) {
    GALE_TRY(load_in_parallel(device, ops, arena, files, report));
  } else if (random) {
    GALE_TRY(load_random_matrices(device, ops, arena, report));
  } else {
    for (Matrices& item : matrices_) {
      pack(ops, arena, item, std::vector<Tensor>(item.sources));
      report();
    }
  }
  ops.stream.synchronize();
  arena_.emplace(std::move(arena));
  if (on_progress) on_progress(1.0);
  return {};
}

}  // namespace gale
