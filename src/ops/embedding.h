#pragma once

#include "ops/op.h"

namespace gale {

// out[t] = table[ids[t]]     ids: i32 [T] in 0 … V-1, table: [V, H] f32, f16 or bf16 as in the checkpoint, out: [T, H]
// An id below 0 stands for the token that slot -1 - id drew last, last_tokens[-1 - id] (ops/sample.h): the host need
// not know it. last_tokens: i32 [slots] or empty.
struct EmbeddingArgs { Tensor out; Tensor ids; Tensor table; Tensor last_tokens = {}; };
void embedding(OpContext& context, const EmbeddingArgs& args);

// out[r] = in[rows[r]]     rows: i32 [R], in: [T, H], out: [R, H]
struct GatherRowsArgs { Tensor out; Tensor in; Tensor rows; };
void gather_rows(OpContext& context, const GatherRowsArgs& args);

}  // namespace gale
