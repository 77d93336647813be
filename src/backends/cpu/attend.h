#pragma once

#include <span>

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

// A query of one head, where its result goes, and how many keys it sees.
struct AttendRow {
  const float* query;
  float* out;
  int64_t num_keys;
};

// out[0 … value_size) = softmax(scale * query . key_j) over keys 0 … num_keys - 1, weighting the values, for up to
// kMaxQueryRows queries of one sequence that look at the same keys. Keys are taken in stretches that start at fixed
// positions, so a row's result depends neither on the other rows nor on who else is in the step.
void attend(std::span<const AttendRow> rows, int64_t value_size, int64_t key_size, float scale, const PagedKeys& keys);

// How many rows are taken at once so that no thread is left without work: 1 … kMaxQueryRows.
[[nodiscard]] int64_t attend_rows_for(int64_t num_rows, int num_threads);

// The token's place: its sequence, and how many keys it sees. Tokens past the last sequence (padding) see none.
struct TokenPlace { int sequence = 0; int64_t num_keys = 0; };
[[nodiscard]] TokenPlace place_of(const AttentionMetadata& metadata, int64_t token);

}  // namespace gale
