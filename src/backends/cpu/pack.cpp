// Orders weights for the CPU: panels of 16 rows, so that a product broadcasts in[k] over 16 outputs and reads weights
// once, front to back.
#include <algorithm>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/packed_panels.h"
#include "ops/random.h"
#include "tensor/convert.h"

namespace gale {
namespace {

int64_t padded_panels(int64_t num_rows, RowOrder order) {
  const int64_t sources = order == RowOrder::kGateUp ? 2 : 1;
  return (num_rows / sources + kPanelRows - 1) / kPanelRows * sources;
}

// The row of a group of stacked sources, or null past the end.
struct SourceRow { const Tensor* source = nullptr; int64_t row = 0; };
SourceRow find_row(std::span<const Tensor> group, RowOrder order, int64_t panel, int64_t lane) {
  if (order == RowOrder::kGateUp) {
    const Tensor& source = group[static_cast<size_t>(panel % 2)];
    const int64_t row = panel / 2 * kPanelRows + lane;
    return row < source.shape[0] ? SourceRow{&source, row} : SourceRow{};
  }
  int64_t row = panel * kPanelRows + lane;
  for (const Tensor& source : group) {
    if (row < source.shape[0]) return {&source, row};
    row -= source.shape[0];
  }
  return {};
}

// One panel, [K][16]. Bits move unchanged, so only the size of an element matters.
template <class Bits>
void pack_panel(Bits* panel, std::span<const Tensor> group, RowOrder order, int64_t index, int64_t num_cols) {
  for (int64_t lane = 0; lane < kPanelRows; ++lane) {
    const auto [source, row] = find_row(group, order, index, lane);
    const Bits* from = source == nullptr ? nullptr : static_cast<const Bits*>(source->data) + row * source->strides[0];
    const int64_t step = source == nullptr ? 0 : source->strides[1];
    for (int64_t k = 0; k < num_cols; ++k) panel[k * kPanelRows + lane] = from == nullptr ? Bits{0} : from[k * step];
  }
}

// The same of e4m3 rows with scales, as bf16.
void widen_panel(uint16_t* panel, std::span<const Tensor> group, RowOrder order, int64_t index, int64_t num_cols) {
  for (int64_t lane = 0; lane < kPanelRows; ++lane) {
    const auto [source, row] = find_row(group, order, index, lane);
    const uint8_t* from = source == nullptr ? nullptr : source->row<uint8_t>(row);
    for (int64_t k = 0; k < num_cols; ++k) {
      const float value = from == nullptr ? 0.0f : f8e4m3_to_f32(from[k * source->strides[1]]) * source->scales[row];
      panel[k * kPanelRows + lane] = f32_to_bf16(value);
    }
  }
}

DType packed_type(DType source) { return source == DType::kF8E4M3 ? DType::kBF16 : source; }

}  // namespace

size_t cpu_packed_bytes(const PackShape& shape) {
  const int64_t panels = shape.num_matrices * padded_panels(shape.num_rows, shape.order);
  return Arena::padded(static_cast<size_t>(panels * shape.num_cols * kPanelRows) *
                       size_of(packed_type(shape.source_dtype)));
}

void cpu_pack(Stream& stream, Arena& arena, const PackLinearArgs& args) {
  const size_t group_size = args.sources.size() / static_cast<size_t>(args.num_matrices);
  const bool is_scaled = args.sources[0].dtype == DType::kF8E4M3;
  const DType dtype = packed_type(args.sources[0].dtype);
  int64_t num_rows = 0;
  for (const Tensor& source : args.sources.first(group_size)) num_rows += source.shape[0];
  const int64_t panels = padded_panels(num_rows, args.order), num_cols = args.sources[0].shape[1];
  args.out->data = arena.allocate(dtype, {args.num_matrices, panels, num_cols, kPanelRows});
  for_each_row(stream, args.num_matrices * panels, num_cols * kPanelRows, [&](int64_t item) {
    const auto group = args.sources.subspan(static_cast<size_t>(item / panels) * group_size, group_size);
    const int64_t offset = item * num_cols * kPanelRows;
    void* data = args.out->data.data;
    if (is_scaled) {
      widen_panel(static_cast<uint16_t*>(data) + offset, group, args.order, item % panels, num_cols);
    } else if (size_of(dtype) == 2) {
      pack_panel(static_cast<uint16_t*>(data) + offset, group, args.order, item % panels, num_cols);
    } else {
      pack_panel(static_cast<uint32_t*>(data) + offset, group, args.order, item % panels, num_cols);
    }
  });
}

void cpu_fill_random(Stream& stream, const Tensor& out, uint64_t seed, float spread) {
  CHECK(out.is_contiguous(), "{} is strided", out.describe());
  constexpr int64_t kPiece = 4096;
  const int64_t size = out.num_elements();
  for_each_row(stream, (size + kPiece - 1) / kPiece, kPiece, [&](int64_t piece) {
    for (int64_t i = piece * kPiece; i < std::min(size, (piece + 1) * kPiece); ++i) {
      const float value = spread * uniform_of(seed, static_cast<uint64_t>(i));
      if (out.dtype == DType::kF32) {
        out.as<float>()[i] = value;
      } else {
        CHECK(out.dtype == DType::kBF16, "random {}", name_of(out.dtype));
        out.as<uint16_t>()[i] = f32_to_bf16(value);
      }
    }
  });
}

}  // namespace gale
