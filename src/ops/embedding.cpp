#include "ops/embedding.h"

#include "ops/check_args.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {

void embedding(OpContext& context, const EmbeddingArgs& args) {
  const ArgCheck check("embedding", context);
  check.rank("table", args.table, 2);
  check.rank("ids", args.ids, 1);
  check.tensor("ids", args.ids, DType::kI32, args.ids.shape);
  check.one_of("table", args.table, {DType::kF32, DType::kF16, DType::kBF16}, args.table.shape);
  check.activation("out", args.out, {args.ids.shape[0], args.table.shape[1]});
  if (args.ids.shape[0] == 0) return;
  dispatch(context, context.table.embedding, args, "embedding", {{"ids", args.ids}, {"table", args.table}});
}

void gather_rows(OpContext& context, const GatherRowsArgs& args) {
  const ArgCheck check("gather_rows", context);
  check.rank("in", args.in, 2);
  check.rank("rows", args.rows, 1);
  check.tensor("rows", args.rows, DType::kI32, args.rows.shape);
  check.activation("in", args.in, args.in.shape);
  check.activation("out", args.out, {args.rows.shape[0], args.in.shape[1]});
  if (args.rows.shape[0] == 0) return;
  dispatch(context, context.table.gather_rows, args, "gather_rows", {{"in", args.in}, {"rows", args.rows}});
}

}  // namespace gale
