#pragma once

#include "ops/attention.h"
#include "ops/check_args.h"

namespace gale {

// Shapes and types of a step's metadata; what the index tensors hold is device memory and is not read here.
void check_metadata(const ArgCheck& check, const AttentionMetadata* metadata, int64_t num_tokens);
void check_rope(const ArgCheck& check, const RopeParams& rope, int64_t head_dim);

}  // namespace gale
