#pragma once

#include "ops/op.h"

namespace gale {

// All work on logits: f32 [R, V], in place. Rows are independent.

// Ids that must not be drawn become -inf: all >= num_valid_tokens, and of rows with mask_rows[i] those whose bit is 0.
struct MaskLogitsArgs {
  Tensor logits;
  int num_valid_tokens;     // 1 + largest id with text
  Tensor masks;             // u32 [M, ceil(V / 32)] or empty: bit t % 32 of word t / 32 allows token t
  Tensor mask_rows;         // i32 [M]: row of each mask
};
void mask_logits(OpContext& context, const MaskLogitsArgs& args);

// For each entry i: token token_ids[i] was seen in row rows[i]; output_counts[i] times in the output (0: prompt only).
// logit > 0 ? logit / repetition : logit * repetition for all entries, then minus
// frequency * count + presence * (count > 0).
struct PenaltiesArgs {
  Tensor logits;
  Tensor rows, token_ids, output_counts;                       // i32 [M], one entry a distinct (row, token)
  Tensor repetition, frequency, presence;                      // f32 [R]
};
void apply_penalties(OpContext& context, const PenaltiesArgs& args);

// logits[rows[i], token_ids[i]] += values[i]
struct LogitBiasArgs { Tensor logits; Tensor rows, token_ids; Tensor values; };   // i32 [M], i32 [M], f32 [M]
void apply_logit_bias(OpContext& context, const LogitBiasArgs& args);

// Gumbel-max draw. temperature 0: the largest logit, lowest id on ties. Otherwise: divide by temperature; keep the
// top_k largest (0: all; ties at the border are kept); of those the smallest set of largest probabilities whose sum
// reaches top_p (the token that crosses is kept, and its ties; the sum is relative to what top_k left); of those p >=
// min_p * max p; draw argmax(logit + gumbel(u)), u from Philox4x32-10 with key = seed and counter = (position, token
// id / 4): one number for every (seed, position, token), whatever the batch row. u = (bits + 0.5) / 2^32 of output word
// token id % 4; gumbel = -log(-log(u)), in fp32 by ops/philox.h, which stays finite where u itself would round to 1. A
// row that holds a NaN or +inf, or no finite logit, draws -1: the model gave no usable probabilities.
struct SampleArgs {
  Tensor token_ids;         // out: i32 [R]
  Tensor logits;            // after masks, penalties, bias
  Tensor temperature, top_p, min_p;   // f32 [R]
  Tensor top_k;             // i32 [R]
  Tensor seeds;             // i64 [R]
  Tensor positions;         // i64 [R]: index of the drawn token in its sequence (prompt included)
  Tensor slots = {};        // i32 [R] or empty: where in last_tokens each row's token goes, too; -1: nowhere
  Tensor last_tokens = {};  // out, with slots: i32 [number of slots]; a row that drew -1 leaves 0 there
};
void sample(OpContext& context, const SampleArgs& args);

// log softmax of logits at chosen and at the best `k` tokens of each row (by falling logit, lowest id on ties).
// Outputs of a row that drew -1 mean nothing.
struct LogprobsArgs {
  Tensor logits;            // f32 [R, V]; read only
  Tensor chosen;            // i32 [R]; -1: none
  Tensor chosen_logprobs;   // out: f32 [R]
  Tensor chosen_ranks;      // out: i32 [R]: 1 + number of tokens with a larger logit
  Tensor top_ids;           // out: i32 [R, k] or empty
  Tensor top_logprobs;      // out: f32 [R, k] or empty
};
void logprobs(OpContext& context, const LogprobsArgs& args);

}  // namespace gale
