#include "ops/linear.h"

#include <algorithm>
#include <initializer_list>

#include "ops/check_args.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {
namespace {

constexpr std::initializer_list<DType> kWeightTypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};

bool is_weight_type(DType dtype) {
  return std::find(kWeightTypes.begin(), kWeightTypes.end(), dtype) != kWeightTypes.end();
}

// The shape of what the sources stack up to; all of them checked against the first.
PackShape checked_sources(const PackLinearArgs& args) {
  const std::span<const Tensor> sources = args.sources;
  CHECK(args.out != nullptr && args.num_matrices > 0, "pack_linear: {} matrices", args.num_matrices);
  CHECK(!sources.empty() && sources.size() % static_cast<size_t>(args.num_matrices) == 0,
        "pack_linear: {} sources for {} matrices", sources.size(), args.num_matrices);
  const size_t group = sources.size() / static_cast<size_t>(args.num_matrices);
  CHECK(args.order == RowOrder::kPlain || group == 2, "pack_linear: gate and up, but {} sources a matrix", group);
  const Tensor& first = sources[0];
  PackShape shape{.num_matrices = args.num_matrices, .num_rows = 0, .num_cols = first.shape[1],
                  .source_dtype = first.dtype, .order = args.order, .format = args.format};
  CHECK(is_weight_type(first.dtype), "pack_linear: source is {}", first.describe());
  for (size_t i = 0; i < sources.size(); ++i) {
    const Tensor& source = sources[i];
    CHECK(source.shape.rank() == 2 && source.shape == sources[i % group].shape && source.dtype == first.dtype &&
              source.shape[1] == first.shape[1] && source.data != nullptr,
          "pack_linear: source {} is {}, the first is {}", i, source.describe(), first.describe());
    CHECK(source.dtype != DType::kF8E4M3 || source.scales != nullptr, "pack_linear: source {} has no scales", i);
    if (i < group) shape.num_rows += source.shape[0];
  }
  CHECK(args.order == RowOrder::kPlain || sources[0].shape == sources[1].shape, "pack_linear: gate is {}, up is {}",
        sources[0].describe(), sources[1].describe());
  return shape;
}

void check_weight(const PackedWeight* weight, int64_t num_matrices, int64_t num_rows,
                  int64_t num_cols, RowOrder order) {
  CHECK(weight != nullptr, "weight is null");
  CHECK(weight->num_matrices == num_matrices && weight->num_rows == num_rows && weight->num_cols == num_cols &&
            weight->order == order,
        "packed weight is {} x [{}, {}], expected {} x [{}, {}]{}", weight->num_matrices, weight->num_rows,
        weight->num_cols, num_matrices, num_rows, num_cols, order == RowOrder::kGateUp ? " of gate and up" : "");
}

// A quantised weight takes quantised activations, and only it does.
void check_input(const ArgCheck& check, const Tensor& in, const PackedWeight* weight) {
  CHECK(weight != nullptr, "weight is null");
  if (weight->is_quantized()) {
    check.quantized("in", in, in.shape);
  } else {
    check.activation("in", in, in.shape);
  }
}

}  // namespace

size_t packed_linear_bytes(OpContext& context, const PackShape& shape) {
  CHECK(context.table.packing.packed_bytes != nullptr, "the table has no packing");
  CHECK(shape.num_matrices > 0 && shape.num_rows > 0 && shape.num_cols > 0 && is_weight_type(shape.source_dtype),
        "packing {} x [{}, {}] of {}", shape.num_matrices, shape.num_rows, shape.num_cols, name_of(shape.source_dtype));
  return context.table.packing.packed_bytes(shape);
}

bool supports_weight_format(const OpContext& context, WeightFormat format) {
  return format == WeightFormat::kAsIs || context.table.packing.has_f8e4m3;
}

void pack_linear(OpContext& context, Arena& arena, const PackLinearArgs& args) {
  const PackShape shape = checked_sources(args);
  CHECK(supports_weight_format(context, args.format), "pack_linear: this backend has no FP8 weights");
  const size_t num_bytes = packed_linear_bytes(context, shape);
  if (context.caps.kind == DeviceKind::kNull) {
    args.out->data = arena.allocate(DType::kU8, {static_cast<int64_t>(num_bytes)});
  } else {
    context.table.packing.pack(context.stream, arena, args);
  }
  args.out->num_matrices = shape.num_matrices;
  args.out->num_rows = shape.num_rows;
  args.out->num_cols = shape.num_cols;
  args.out->order = shape.order;
}

void linear(OpContext& context, const LinearArgs& args) {
  const ArgCheck check("linear", context);
  check.rank("in", args.in, 2);
  check.rank("out", args.out, 2);
  check_input(check, args.in, args.weight);
  const int64_t num_tokens = args.in.shape[0], num_rows = args.out.shape[1];
  check.one_of("out", args.out, {context.caps.activation_dtype, DType::kF32}, {num_tokens, num_rows});
  check_weight(args.weight, 1, num_rows, args.in.shape[1], RowOrder::kPlain);
  check.optional_activation("bias", args.bias, {num_rows});
  if (num_tokens == 0) return;
  dispatch(context, context.table.linear, args, "linear",
           {{"in", args.in}, {"out", args.out}, {"weight", args.weight->data}});
}

void linear_swiglu(OpContext& context, const LinearSwigluArgs& args) {
  const ArgCheck check("linear_swiglu", context);
  check.rank("in", args.in, 2);
  check.rank("out", args.out, 2);
  check_input(check, args.in, args.weight);
  const int64_t num_tokens = args.in.shape[0], inner = args.out.shape[1];
  check.activation_or_quantized("out", args.out, {num_tokens, inner});
  check.one_of("scratch", args.scratch, {context.caps.activation_dtype, DType::kF32}, {num_tokens, 2 * inner});
  check_weight(args.weight, 1, 2 * inner, args.in.shape[1], RowOrder::kGateUp);
  if (num_tokens == 0) return;
  dispatch(context, context.table.linear_swiglu, args, "linear_swiglu",
           {{"in", args.in}, {"out", args.out}, {"weight", args.weight->data}});
}

void head_linear(OpContext& context, const HeadLinearArgs& args) {
  const ArgCheck check("head_linear", context);
  check.rank("in", args.in, 3);
  check.rank("out", args.out, 3);
  check.activation("in", args.in, args.in.shape);
  const int64_t num_tokens = args.in.shape[0], num_heads = args.in.shape[1];
  check.activation("out", args.out, {num_tokens, num_heads, args.out.shape[2]});
  check_weight(args.weight, num_heads, args.out.shape[2], args.in.shape[2], RowOrder::kPlain);
  if (num_tokens == 0) return;
  dispatch(context, context.table.head_linear, args, "head_linear",
           {{"in", args.in}, {"out", args.out}, {"weight", args.weight->data}});
}

}  // namespace gale
