#pragma once

#include <algorithm>

#include "backends/cuda/stream_gemm_plan.h"

// Which form of MLA a prompt's chunk takes, as a plain function of its sizes.
namespace gale::cuda {

// Microseconds on an H100 (perf/attention-h100.md). A pair: a query and a key that it sees.
inline constexpr double kAbsorbedPairUs = 0.49e-3;     // from 8,192 queries
inline constexpr double kAbsorbedQueryUs = 1.2;        // whatever it sees, among answers: from 160 of 1,024 (H200)
// mla_chunk_sm90.cu takes chunks of so many queries: what it needs to begin, for a key that it lays out, for a pair.
inline constexpr int kMinChunkQueries = 4;
inline constexpr double kChunkStartUs = 12, kGatheredKeyUs = 0.8e-3, kChunkPairUs = 0.11e-3;
inline constexpr double kExpansionStartUs = 10, kExpandedKeyUs = 0.9e-3, kAttendedKeyUs = 26e-3;
inline constexpr int kExpandedRows = 128;              // of a block (device/flash_sm90.cuh)
inline constexpr int kAbsorbedHeads = 24;              // of a pass

// Do keys and values made from the latents (device/mla_expand.cuh) take less time than the absorbed form?
inline bool is_expanded_faster(int num_queries, int seq_len, int num_heads) {
  const auto ceil_div = [](int a, int b) { return (a + b - 1) / b; };
  const double queries = num_queries, keys = seq_len, seen = keys - queries / 2;   // by a query, on average
  const double waves = std::max(1.0, static_cast<double>(ceil_div(num_queries, kExpandedRows)) * num_heads / kNumSms);
  const double alone = queries * (kAbsorbedQueryUs + seen * kAbsorbedPairUs) * ceil_div(num_heads, kAbsorbedHeads);
  const double as_chunk = kChunkStartUs + keys * kGatheredKeyUs + queries * seen * kChunkPairUs * num_heads / 20;
  const double absorbed = num_queries < kMinChunkQueries ? alone : as_chunk;
  return kExpansionStartUs + keys * num_heads * kExpandedKeyUs + seen * waves * kAttendedKeyUs < absorbed;
}

}  // namespace gale::cuda
