#pragma once

#include <span>

#include "ops/op.h"

namespace gale {

// kGateUp: sources are gate then up; the backend may interleave them
enum class RowOrder : uint8_t { kPlain, kGateUp };

// A weight in the order its backend likes, made once at load by pack_linear. Opaque to everybody but the backend.
// is_quantized(): e4m3 values and one fp32 scale for each row of each matrix, in the order of the packed rows:
// weight = value * scale, scale = largest magnitude of the row / 448 (1 for a row of zeros), or values and scales of an
// e4m3 source.
struct PackedWeight {
  Tensor data;                 // backend's layout
  Tensor scales;               // quantised weights: f32 [num_matrices * num_rows]; else empty
  [[nodiscard]] bool is_quantized() const { return !scales.is_empty(); }
  int64_t num_matrices = 0;    // 1, or heads / experts
  int64_t num_rows = 0;        // N of each matrix (2 * I for gate + up)
  int64_t num_cols = 0;        // K
  RowOrder order = RowOrder::kPlain;
};

enum class WeightFormat : uint8_t { kAsIs, kF8E4M3 };   // kAsIs: 16 bits (f32 too where the backend computes in it)

struct PackShape {
  int64_t num_matrices; int64_t num_rows; int64_t num_cols; DType source_dtype; RowOrder order;
  WeightFormat format = WeightFormat::kAsIs;
};

// sources: num_matrices groups of equally many matrices, each [n_i, K] with any strides (a transposed view is fine),
// f32, f16, bf16, or e4m3 with Tensor::scales (kept as they are in kF8E4M3, widened to bf16 in kAsIs), stacked along
// rows within a group. A group of two with kGateUp is gate, up. Memory of the source is host memory on the CPU, device
// memory on CUDA.
struct PackLinearArgs {
  PackedWeight* out; std::span<const Tensor> sources; int64_t num_matrices; RowOrder order;
  WeightFormat format = WeightFormat::kAsIs;
};
// Whether the backend can hold weights in this format.
[[nodiscard]] bool supports_weight_format(const OpContext& context, WeightFormat format);
[[nodiscard]] size_t packed_linear_bytes(OpContext& context, const PackShape& shape);
// Allocates from `arena` (the one op that does: it runs at load, never in a step) and fills `out`. On the null device
// the arena piece stays unwritten.
void pack_linear(OpContext& context, Arena& arena, const PackLinearArgs& args);

// Activations of a quantised weight are quantised too (f8e4m3 with Tensor::scales, one factor a row, made by the op
// before or by quantize_rows); those of a weight as it is have the activation dtype.

// out[t, n] = sum_k in[t, k] * weight[n, k] (+ bias[n])
// in: [T, K], out: [T, N] (activation dtype or f32), bias: [N] or empty
struct LinearArgs { Tensor out; Tensor in; const PackedWeight* weight; Tensor bias; };
void linear(OpContext& context, const LinearArgs& args);

// out[t, i] = silu(g) * u with [g; u] = weight(kGateUp) * in[t]
// in: [T, K], out: [T, I] (activation dtype, or f8e4m3 with scales to be written, as quantize_rows would make of it),
// scratch: f32 or activation [T, 2I]
struct LinearSwigluArgs { Tensor out; Tensor in; const PackedWeight* weight; Tensor scratch; };
void linear_swiglu(OpContext& context, const LinearSwigluArgs& args);

// One small matrix a head: out[t, h, n] = sum_k in[t, h, k] * weight[h][n, k]   in: [T, heads, K], out: [T, heads, N]
// (both may be slices of wider rows: MLA's absorbed W_UK and W_UV).
struct HeadLinearArgs { Tensor out; Tensor in; const PackedWeight* weight; };
void head_linear(OpContext& context, const HeadLinearArgs& args);

}  // namespace gale
