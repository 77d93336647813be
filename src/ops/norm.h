#pragma once

#include "ops/op.h"

namespace gale {

// All: y = cast(x * rsqrt(mean(x^2) + eps)) * weight, mean in fp32 over the last axis.   weight: [H]

// out[t] = norm(in[t])      in, out: [T, H] (rows may be strided: a slice of a wider tensor)
struct RmsNormArgs { Tensor out; Tensor in; Tensor weight; float eps; };
void rms_norm(OpContext& context, const RmsNormArgs& args);

// residual[t] += in[t]; out[t] = norm(residual[t])      out, residual, in: [T, H]
struct AddRmsNormArgs { Tensor out; Tensor residual; Tensor in; Tensor weight; float eps; };
void add_rms_norm(OpContext& context, const AddRmsNormArgs& args);

// Sandwich norms: residual[t] += norm(in[t]; post_weight); out[t] = norm(residual[t]; weight)
struct NormAddRmsNormArgs { Tensor out; Tensor residual; Tensor in; Tensor post_weight; Tensor weight; float eps; };
void norm_add_rms_norm(OpContext& context, const NormAddRmsNormArgs& args);

}  // namespace gale
