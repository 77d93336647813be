#include "ops/sample.h"

#include "ops/check_args.h"
#include "ops/dispatch.h"
#include "ops/op_table.h"

namespace gale {
namespace {

// Checks logits [R, V] and gives R.
int64_t check_logits(const ArgCheck& check, const Tensor& logits) {
  check.rank("logits", logits, 2);
  check.tensor("logits", logits, DType::kF32, logits.shape);
  return logits.shape[0];
}

// The number of entries of a list that may be absent.
int64_t num_entries(const Tensor& list) { return list.is_empty() ? 0 : list.shape[0]; }

}  // namespace

void mask_logits(OpContext& context, const MaskLogitsArgs& args) {
  const ArgCheck check("mask_logits", context);
  const int64_t num_rows = check_logits(check, args.logits);
  check.that(args.num_valid_tokens > 0, "num_valid_tokens must be positive");
  if (!args.masks.is_empty()) {
    const int64_t num_masks = args.masks.shape[0];
    check.tensor("masks", args.masks, DType::kU32, {num_masks, (args.logits.shape[1] + 31) / 32});
    check.tensor("mask_rows", args.mask_rows, DType::kI32, {num_masks});
  }
  if (num_rows == 0) return;
  dispatch(context, context.table.mask_logits, args, "mask_logits", {{"logits", args.logits}, {"masks", args.masks}});
}

void apply_penalties(OpContext& context, const PenaltiesArgs& args) {
  const ArgCheck check("apply_penalties", context);
  const int64_t num_rows = check_logits(check, args.logits);
  const int64_t entries = num_entries(args.rows);
  if (num_rows == 0 || entries == 0) return;
  check.tensor("rows", args.rows, DType::kI32, {entries});
  check.tensor("token_ids", args.token_ids, DType::kI32, {entries});
  check.tensor("output_counts", args.output_counts, DType::kI32, {entries});
  check.tensor("repetition", args.repetition, DType::kF32, {num_rows});
  check.tensor("frequency", args.frequency, DType::kF32, {num_rows});
  check.tensor("presence", args.presence, DType::kF32, {num_rows});
  dispatch(context, context.table.apply_penalties, args, "apply_penalties",
           {{"logits", args.logits}, {"rows", args.rows}});
}

void apply_logit_bias(OpContext& context, const LogitBiasArgs& args) {
  const ArgCheck check("apply_logit_bias", context);
  const int64_t num_rows = check_logits(check, args.logits);
  const int64_t entries = num_entries(args.rows);
  if (num_rows == 0 || entries == 0) return;
  check.tensor("rows", args.rows, DType::kI32, {entries});
  check.tensor("token_ids", args.token_ids, DType::kI32, {entries});
  check.tensor("values", args.values, DType::kF32, {entries});
  dispatch(context, context.table.apply_logit_bias, args, "apply_logit_bias",
           {{"logits", args.logits}, {"rows", args.rows}});
}

void sample(OpContext& context, const SampleArgs& args) {
  const ArgCheck check("sample", context);
  const int64_t num_rows = check_logits(check, args.logits);
  check.tensor("token_ids", args.token_ids, DType::kI32, {num_rows});
  check.tensor("temperature", args.temperature, DType::kF32, {num_rows});
  check.tensor("top_p", args.top_p, DType::kF32, {num_rows});
  check.tensor("min_p", args.min_p, DType::kF32, {num_rows});
  check.tensor("top_k", args.top_k, DType::kI32, {num_rows});
  check.tensor("seeds", args.seeds, DType::kI64, {num_rows});
  check.tensor("positions", args.positions, DType::kI64, {num_rows});
  if (!args.slots.is_empty()) {
    check.tensor("slots", args.slots, DType::kI32, {num_rows});
    check.rank("last_tokens", args.last_tokens, 1);
    check.tensor("last_tokens", args.last_tokens, DType::kI32, args.last_tokens.shape);
  }
  if (num_rows == 0) return;
  dispatch(context, context.table.sample, args, "sample", {{"logits", args.logits}});
}

void logprobs(OpContext& context, const LogprobsArgs& args) {
  const ArgCheck check("logprobs", context);
  const int64_t num_rows = check_logits(check, args.logits);
  check.tensor("chosen", args.chosen, DType::kI32, {num_rows});
  check.tensor("chosen_logprobs", args.chosen_logprobs, DType::kF32, {num_rows});
  check.tensor("chosen_ranks", args.chosen_ranks, DType::kI32, {num_rows});
  if (num_rows == 0) return;
  if (!args.top_ids.is_empty()) {
    const int64_t k = args.top_ids.shape[1];
    check.tensor("top_ids", args.top_ids, DType::kI32, {num_rows, k});
    check.tensor("top_logprobs", args.top_logprobs, DType::kF32, {num_rows, k});
    check.that(k <= args.logits.shape[1], "more top tokens than tokens");
  }
  dispatch(context, context.table.logprobs, args, "logprobs", {{"logits", args.logits}, {"top_ids", args.top_ids}});
}

}  // namespace gale
