#pragma once

#include "ops/op.h"

namespace gale {

// All: y = cast(x * rsqrt(mean(x^2) + eps)) * weight, mean in fp32 over the last axis.   weight: [H]

// `quantized`, if there, gets out[t] once more as f8e4m3 with a scale a row, as quantize_rows would make it: [T, H],
// contiguous. `out` may be empty then, where nobody reads it.

// out[t] = norm(in[t])      in, out: [T, H] (rows may be strided: a slice of a wider tensor)
struct RmsNormArgs { Tensor out; Tensor in; Tensor weight; float eps; Tensor quantized = {}; };
void rms_norm(OpContext& context, const RmsNormArgs& args);

// residual[t] += in[t]; out[t] = norm(residual[t])      out, residual, in: [T, H]
struct AddRmsNormArgs { Tensor out; Tensor residual; Tensor in; Tensor weight; float eps; Tensor quantized = {}; };
void add_rms_norm(OpContext& context, const AddRmsNormArgs& args);

// Sandwich norms: residual[t] += norm(in[t]; post_weight); out[t] = norm(residual[t]; weight)
struct NormAddRmsNormArgs {
  Tensor out;
  Tensor residual;
  Tensor in;
  Tensor post_weight;
  Tensor weight;
  float eps;
  Tensor quantized = {};
};
void norm_add_rms_norm(OpContext& context, const NormAddRmsNormArgs& args);

// out[t] = saturate(in[t] / s) in e4m3 with s = max |in[t]| / 448 (1 for a row of zeros), written to out.scales[t].
// in: [T, K] activations (rows may be strided), out: f8e4m3 [T, K], contiguous, scales f32 [T]
struct QuantizeRowsArgs { Tensor out; Tensor in; };
void quantize_rows(OpContext& context, const QuantizeRowsArgs& args);

}  // namespace gale
