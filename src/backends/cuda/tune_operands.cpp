#include "backends/cuda/tune_operands.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "ops/moe.h"
#include "ops/norm.h"
#include "ops/op_table.h"
#include "tensor/convert.h"

namespace gale::cuda {
namespace {

constexpr size_t kRotatedBytes = size_t{300} << 20;    // several times the L2 of any card
constexpr size_t kMaxCopies = 64;
constexpr int64_t kDistinctExperts = 8;                // the others repeat them
constexpr int kSampledRows = 16;
constexpr int kSpoiled = 0x42;                         // a number in every type, and no likely result

bool is_of_experts(const ProductShape& shape) { return shape.num_matrices > 1; }
bool is_swiglu(const ProductShape& shape) {
  return shape.op == ProductOp::kLinearSwiglu || shape.op == ProductOp::kMoeUp;
}
RowOrder order_of(const ProductShape& shape) { return is_swiglu(shape) ? RowOrder::kGateUp : RowOrder::kPlain; }
WeightFormat format_of(const ProductShape& shape) {
  return shape.is_fp8 ? WeightFormat::kF8E4M3 : WeightFormat::kAsIs;
}
DType result_type(const ProductShape& shape) {
  if (shape.op == ProductOp::kLogits) return DType::kF32;
  return is_swiglu(shape) && shape.is_fp8 ? DType::kF8E4M3 : DType::kBF16;
}

// Distinct experts for each token, the last of them the shared one as the last matrix, and rows in the order of their
// experts, as moe_route makes them.
struct Routing {
  std::vector<int32_t> ids, sorted, offsets;
};
Routing spread_evenly(const ProductShape& shape, int num_tokens) {
  Routing out;
  std::mt19937 random(9);
  std::vector<int32_t> experts(static_cast<size_t>(shape.num_matrices) - 1);
  std::iota(experts.begin(), experts.end(), 0);
  for (int t = 0; t < num_tokens; ++t) {
    for (int64_t chosen = 0; chosen + 1 < shape.num_chosen; ++chosen) {
      const size_t left = experts.size() - static_cast<size_t>(chosen);
      std::swap(experts[static_cast<size_t>(chosen)], experts[static_cast<size_t>(chosen) + random() % left]);
      out.ids.push_back(experts[static_cast<size_t>(chosen)]);
    }
    out.ids.push_back(static_cast<int32_t>(shape.num_matrices) - 1);
  }
  out.sorted.resize(out.ids.size());
  std::iota(out.sorted.begin(), out.sorted.end(), 0);
  const auto expert_of = [&](int32_t row) { return out.ids[static_cast<size_t>(row)]; };
  std::stable_sort(out.sorted.begin(), out.sorted.end(),
                   [&](int32_t a, int32_t b) { return expert_of(a) < expert_of(b); });
  out.offsets.assign(static_cast<size_t>(shape.num_matrices) + 1, 0);
  for (const int32_t id : out.ids) ++out.offsets[static_cast<size_t>(id) + 1];
  std::partial_sum(out.offsets.begin(), out.offsets.end(), out.offsets.begin());
  return out;
}

float number_at(const std::byte* row, DType dtype, int64_t column) {
  const auto read = [&](auto value) {
    std::copy_n(row + column * static_cast<int64_t>(sizeof value), sizeof value,
                reinterpret_cast<std::byte*>(&value));
    return value;
  };
  if (dtype == DType::kF32) return read(float{});
  if (dtype == DType::kBF16) return bf16_to_f32(read(uint16_t{}));
  CHECK(dtype == DType::kF8E4M3, "results in {}", name_of(dtype));
  return f8e4m3_to_f32(read(uint8_t{}));
}

}  // namespace

Result<Tensor> ProductOperands::tensor(DType dtype, const Shape& shape) {
  const size_t num_bytes = static_cast<size_t>(shape.num_elements()) * size_of(dtype);
  GALE_ASSIGN(std::unique_ptr<Buffer> buffer, device_->allocate(MemoryKind::kDevice, num_bytes));
  buffers_.push_back(std::move(buffer));
  return Tensor::contiguous(buffers_.back()->data(), dtype, shape);
}

Status ProductOperands::make_weights(OpContext& context) {
  const int64_t distinct = std::min(shape_.num_matrices, kDistinctExperts);
  std::vector<Tensor> made, sources;
  for (int64_t i = 0; i < distinct; ++i) {
    GALE_ASSIGN(made.emplace_back(), tensor(DType::kBF16, {shape_.num_rows, shape_.num_cols}));
    context.table.fill_random(context.stream, made.back(), static_cast<uint64_t>(i) + 1,
                              1 / std::sqrt(static_cast<float>(shape_.num_cols)));
  }
  for (int64_t i = 0; i < shape_.num_matrices; ++i) {
    const Tensor& source = made[static_cast<size_t>(i % distinct)];
    if (!is_swiglu(shape_)) {
      sources.push_back(source);
      continue;
    }
    sources.push_back(source.slice(0, 0, shape_.num_rows / 2));
    sources.push_back(source.slice(0, shape_.num_rows / 2, shape_.num_rows));
  }
  const PackShape packed{shape_.num_matrices, shape_.num_rows,  shape_.num_cols,
                         DType::kBF16,        order_of(shape_), format_of(shape_)};
  const size_t bytes = packed_linear_bytes(context, packed);
  weights_.resize(std::clamp<size_t>(kRotatedBytes / bytes + 1, 2, kMaxCopies));
  for (PackedWeight& weight : weights_) {
    GALE_ASSIGN(Arena arena, Arena::create(*device_, MemoryKind::kDevice, bytes));
    arenas_.push_back(std::move(arena));
    pack_linear(context, arenas_.back(),
                {.out = &weight,
                 .sources = sources,
                 .num_matrices = shape_.num_matrices,
                 .order = order_of(shape_),
                 .format = format_of(shape_)});
  }
  context.stream.synchronize();
  buffers_.clear();                                    // the sources
  return {};
}

// Rows of the width K, rounded where the weights are.
Result<Tensor> ProductOperands::input_room(int64_t num_rows) {
  const Shape shape{num_rows, shape_.num_cols};
  if (!shape_.is_fp8) return tensor(DType::kBF16, shape);
  GALE_ASSIGN(Tensor rounded, tensor(DType::kF8E4M3, shape));
  GALE_ASSIGN(const Tensor scales, tensor(DType::kF32, {num_rows}));
  rounded.scales = scales.as<float>();
  return rounded;
}

// The same, random.
Result<Tensor> ProductOperands::input(OpContext& context, int64_t num_rows) {
  GALE_ASSIGN(const Tensor plain, tensor(DType::kBF16, {num_rows, shape_.num_cols}));
  context.table.fill_random(context.stream, plain, 77, 1);
  if (!shape_.is_fp8) return plain;
  GALE_ASSIGN(Tensor rounded, input_room(num_rows));
  quantize_rows(context, {.out = rounded, .in = plain});
  return rounded;
}

Status ProductOperands::make_routing(int max_tokens) {
  const Shape pairs{max_tokens, shape_.num_chosen};
  GALE_ASSIGN(ids_, tensor(DType::kI32, pairs));
  GALE_ASSIGN(factors_, tensor(DType::kF32, pairs));
  GALE_ASSIGN(sorted_, tensor(DType::kI32, {pairs.num_elements()}));
  GALE_ASSIGN(offsets_, tensor(DType::kI32, {shape_.num_matrices + 1}));
  return {};
}

Status ProductOperands::make_activations(OpContext& context, int max_tokens) {
  const int64_t num_pairs = max_tokens * shape_.num_chosen;
  const bool is_up = shape_.op == ProductOp::kMoeUp, is_down = shape_.op == ProductOp::kMoeDown;
  GALE_ASSIGN(in_, input(context, is_down ? num_pairs : max_tokens));
  const int64_t width = is_swiglu(shape_) ? shape_.num_rows / 2 : shape_.num_rows;
  const int64_t num_results = is_up ? num_pairs : max_tokens;
  GALE_ASSIGN(out_, tensor(result_type(shape_), {num_results, width}));
  if (out_.dtype == DType::kF8E4M3) {
    GALE_ASSIGN(const Tensor scales, tensor(DType::kF32, {num_results}));
    out_.scales = scales.as<float>();
  }
  if (is_swiglu(shape_) || is_down) {
    GALE_ASSIGN(scratch_, tensor(DType::kBF16, {num_pairs, shape_.num_rows}));
  }
  if (is_of_experts(shape_)) {
    GALE_TRY(make_routing(max_tokens));
    GALE_ASSIGN(by_expert_, input_room(num_pairs));
    context.table.fill_random(context.stream, factors_, 5, 0.3f);
  }
  context.stream.synchronize();
  return {};
}

Result<ProductOperands> ProductOperands::make(Device& device, OpContext& context, const ProductShape& shape,
                                              int max_tokens) {
  ProductOperands operands(device, shape);
  GALE_TRY(operands.make_weights(context));
  GALE_TRY(operands.make_activations(context, max_tokens));
  return operands;
}

void ProductOperands::set_tokens(OpContext& context, int num_tokens) {
  num_tokens_ = num_tokens;
  if (!is_of_experts(shape_)) return;
  const Routing routing = spread_evenly(shape_, num_tokens);
  const auto copy = [&](const Tensor& to, const std::vector<int32_t>& from) {
    device_->copy(context.stream, to.data, from.data(), from.size() * sizeof(int32_t));
  };
  copy(ids_, routing.ids), copy(sorted_, routing.sorted), copy(offsets_, routing.offsets);
  context.stream.synchronize();
}

Tensor ProductOperands::results() const {
  return out_.slice(0, 0, shape_.op == ProductOp::kMoeUp ? num_tokens_ * shape_.num_chosen : num_tokens_);
}

Tensor ProductOperands::inputs() const {
  return in_.slice(0, 0, shape_.op == ProductOp::kMoeDown ? num_tokens_ * shape_.num_chosen : num_tokens_);
}

void ProductOperands::run(OpContext& context, int copy) const {
  const PackedWeight* weight = &weights_[static_cast<size_t>(copy) % weights_.size()];
  const Tensor in = inputs(), out = results();
  const int64_t num_pairs = num_tokens_ * shape_.num_chosen;
  const Tensor scratch = scratch_.is_empty() ? scratch_ : scratch_.slice(0, 0, num_pairs);
  const auto of_token = [&](const Tensor& rows) { return rows.view({num_tokens_, shape_.num_chosen, rows.shape[1]}); };
  const auto first = [&](const Tensor& tensor, int64_t size) { return tensor.slice(0, 0, size); };
  switch (shape_.op) {
    case ProductOp::kLinear: case ProductOp::kLogits:
      return linear(context, {.out = out, .in = in, .weight = weight, .bias = {}});
    case ProductOp::kLinearSwiglu:
      return linear_swiglu(context, {.out = out, .in = in, .weight = weight, .scratch = scratch});
    case ProductOp::kMoeUp:
      return moe_up(context, {.out = of_token(out), .in = in, .weight = weight, .expert_ids = first(ids_, num_tokens_),
                              .scratch = scratch, .sorted_rows = first(sorted_, num_pairs),
                              .expert_offsets = offsets_, .by_expert = first(by_expert_, num_pairs)});
    case ProductOp::kMoeDown:
      return moe_down_combine(context, {.out = out, .in = of_token(in), .weight = weight,
                                        .expert_ids = first(ids_, num_tokens_),
                                        .expert_weights = first(factors_, num_tokens_), .scratch = scratch,
                                        .sorted_rows = first(sorted_, num_pairs), .expert_offsets = offsets_,
                                        .by_expert = first(by_expert_, num_pairs)});
  }
}

std::vector<int64_t> ProductOperands::sampled_rows() const {
  const int64_t last = results().shape[0] - 1;
  std::vector<int64_t> rows;
  for (int i = 0; i < kSampledRows; ++i) rows.push_back(last * i / (kSampledRows - 1));
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

void ProductOperands::spoil_rows(OpContext& context) const {
  const Tensor out = results();
  const size_t row_bytes = static_cast<size_t>(out.shape[1]) * size_of(out.dtype);
  const std::vector<std::byte> spoiled(row_bytes, std::byte{kSpoiled});
  const auto one = 1.0f;
  for (const int64_t row : sampled_rows()) {
    device_->copy(context.stream, static_cast<std::byte*>(out.data) + row * static_cast<int64_t>(row_bytes),
                  spoiled.data(), row_bytes);
    if (out.scales != nullptr) device_->copy(context.stream, out.scales + row, &one, sizeof one);
  }
  context.stream.synchronize();
}

std::vector<float> ProductOperands::rows(OpContext& context) const {
  const Tensor out = results();
  const size_t row_bytes = static_cast<size_t>(out.shape[1]) * size_of(out.dtype);
  std::vector<std::byte> bytes(row_bytes);
  std::vector<float> numbers;
  for (const int64_t row : sampled_rows()) {
    float scale = 1;
    device_->copy(context.stream, bytes.data(),
                  static_cast<const std::byte*>(out.data) + row * static_cast<int64_t>(row_bytes), row_bytes);
    if (out.scales != nullptr) device_->copy(context.stream, &scale, out.scales + row, sizeof scale);
    context.stream.synchronize();
    for (int64_t column = 0; column < out.shape[1]; ++column)
      numbers.push_back(number_at(bytes.data(), out.dtype, column) * scale);
  }
  return numbers;
}

}  // namespace gale::cuda
