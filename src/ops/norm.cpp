#include "ops/norm.h"

#include "ops/check_args.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {
namespace {

void check_outputs(const ArgCheck& check, const Tensor& out, const Tensor& quantized, const Shape& shape) {
  check.optional_quantized("quantized", quantized, shape);
  if (quantized.is_empty() || !out.is_empty()) check.activation("out", out, shape);
}

}  // namespace

void rms_norm(OpContext& context, const RmsNormArgs& args) {
  const ArgCheck check("rms_norm", context);
  check.rank("in", args.in, 2);
  check.activation("in", args.in, args.in.shape);
  check.activation("weight", args.weight, {args.in.shape[1]});
  check_outputs(check, args.out, args.quantized, args.in.shape);
  if (args.in.shape[0] == 0) return;
  dispatch(context, context.table.rms_norm, args, "rms_norm", {{"in", args.in}});
}

void add_rms_norm(OpContext& context, const AddRmsNormArgs& args) {
  const ArgCheck check("add_rms_norm", context);
  check.rank("in", args.in, 2);
  check.activation("in", args.in, args.in.shape);
  check.activation("residual", args.residual, args.in.shape);
  check.activation("weight", args.weight, {args.in.shape[1]});
  check_outputs(check, args.out, args.quantized, args.in.shape);
  if (args.in.shape[0] == 0) return;
  dispatch(context, context.table.add_rms_norm, args, "add_rms_norm", {{"in", args.in}});
}

void norm_add_rms_norm(OpContext& context, const NormAddRmsNormArgs& args) {
  const ArgCheck check("norm_add_rms_norm", context);
  check.rank("in", args.in, 2);
  check.activation("in", args.in, args.in.shape);
  check.activation("residual", args.residual, args.in.shape);
  check.activation("post_weight", args.post_weight, {args.in.shape[1]});
  check.activation("weight", args.weight, {args.in.shape[1]});
  check_outputs(check, args.out, args.quantized, args.in.shape);
  if (args.in.shape[0] == 0) return;
  dispatch(context, context.table.norm_add_rms_norm, args, "norm_add_rms_norm", {{"in", args.in}});
}

void quantize_rows(OpContext& context, const QuantizeRowsArgs& args) {
  const ArgCheck check("quantize_rows", context);
  check.rank("in", args.in, 2);
  check.activation("in", args.in, args.in.shape);
  check.quantized("out", args.out, args.in.shape);
  if (args.in.shape[0] == 0) return;
  dispatch(context, context.table.quantize_rows, args, "quantize_rows", {{"in", args.in}});
}

}  // namespace gale
