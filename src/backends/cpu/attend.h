#pragma once

#include "ops/attention.h"

namespace gale {

// Where one sequence's keys and values lie in a paged cache, for one head. Strides are in elements.
struct PagedKeys {
  DType dtype;
  const std::byte* keys;           // element 0 of this head in block 0
  const std::byte* values;
  int64_t block_stride;
  int64_t token_stride;
  int64_t block_size;
  const int32_t* block_table;
};

// out[0 … value_size) = softmax(scale * query . key_j) over keys 0 … num_keys - 1, weighting the values. Keys are taken
// in stretches that start at fixed positions, so the result does not depend on who else is in the step.
void attend(float* out, int64_t value_size, const float* query, int64_t key_size, float scale, int64_t num_keys,
            const PagedKeys& keys);

// The token's place: its sequence, and how many keys it sees. Tokens past the last sequence (padding) see none.
struct TokenPlace { int sequence = 0; int64_t num_keys = 0; };
[[nodiscard]] TokenPlace place_of(const AttentionMetadata& metadata, int64_t token);

}  // namespace gale
