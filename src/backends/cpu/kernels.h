#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace gale {

// The inner loops of the CPU ops, compiled once for each instruction set (simd_*.cpp) and chosen once a process. Each
// is a plain function of one row or one small block of rows, in one fixed order of operations, whatever surrounds it.

// Packed weights: panels of kPanelRows rows, [panel][k][row in panel], so that a product needs no sum across lanes.
inline constexpr int64_t kPanelRows = 16;
inline constexpr int kMaxBlockTokens = 8;

// out[t][n] = sum_k in[t][k] * weight[n][k] (+ bias[n]) for a few tokens and a run of panels.
struct PanelBlock {
  DType dtype;                                // of the weight: f32, f16, bf16
  const void* panels;                         // first panel
  int64_t num_cols;                           // K
  int64_t num_rows;                           // valid rows from the first panel on; for swiglu: valid gate rows
  int num_tokens;                             // 1 … kMaxBlockTokens
  const float* in[kMaxBlockTokens];
  float* out[kMaxBlockTokens];                // at the first panel's first row
  const float* bias;                          // at the same row, or null
};

// A few queries that look at the same keys: a key is read once for all.
inline constexpr int kMaxQueryRows = 8;
struct QueryRows {
  int num_rows = 0;                           // 0 … kMaxQueryRows
  const float* query[kMaxQueryRows];
  float* scores[kMaxQueryRows];               // at the first key of the run
  float* out[kMaxQueryRows];
  float keep[kMaxQueryRows];
};

// A run of keys that lie `stride` elements apart.
struct KeyBlock {
  DType dtype;                                // f32 or bf16
  const void* keys;
  int64_t stride;
  int num_keys;
};

struct CpuKernels {
  const char* name;                           // instruction set
  void (*panels)(const PanelBlock&);
  void (*panels_swiglu)(const PanelBlock&);   // panels alternate gate, up; out = silu(gate) * up
  float (*dot)(const float* a, const float* b, int64_t size);
  float (*sum_of_squares)(const float* x, int64_t size);
  void (*scaled_product)(float* out, const float* x, float scale, const float* weight,
                         int64_t size);  // x * scale * weight
  void (*add)(float* accumulator, const float* x, int64_t size);
  void (*add_scaled)(float* accumulator, const float* x, float scale, int64_t size);
  void (*widen)(float* out, const void* in, DType dtype, int64_t size);      // f32, f16, bf16 → f32
  void (*narrow)(void* out, DType dtype, const float* in, int64_t size);     // f32 → f32, bf16
  // rows.scores[r][j] = scale * query r . key j
  void (*scores)(const QueryRows& rows, int64_t size, float scale, const KeyBlock& keys);
  // scores[j] = exp(scores[j] - max); returns their sum
  float (*exp_and_sum)(float* scores, float max, int num_scores);
  // out r = out r * keep r + sum_j rows.scores[r][j] * value j, first `size` elements of each
  void (*accumulate)(const QueryRows& rows, int64_t size, const KeyBlock& values);
  float (*max_of)(const float* x, int64_t size);                             // -inf if there is none
  double (*sum_of_exp)(const float* x, float scale, float max, int64_t size);   // sum exp((x - max) * scale)
  void (*exp_of)(float* out, const float* x, float scale, float max, int64_t size);   // exp((x - max) * scale)
};

// The best that this machine can run.
[[nodiscard]] const CpuKernels& cpu_kernels();

// One per instruction set; null where the platform does not know it.
[[nodiscard]] const CpuKernels* simd_x86_v4();
[[nodiscard]] const CpuKernels* simd_x86_v3();
[[nodiscard]] const CpuKernels* simd_baseline();

}  // namespace gale
