// Work on logits, portable: masks, penalties, biases, the draw, logprobs. One block a row for the draw and logprobs. The borders of
// top-k and top-p are found by bisecting the 32 bits of an order-preserving key, so nothing is sorted: about 32 passes over a row that
// lies in L2. Limited by these passes; a greedy row takes one.
#include "backends/cuda/device/logits.cuh"
#include "backends/cuda/ops.h"
#include "ops/philox.h"

namespace gale::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kEntryThreads = 256;

// The largest key for which at_least(key) still holds; at_least is monotone and holds for 0. Evaluated by the whole block.
template <class F>
__device__ uint32_t largest_key(F&& at_least) {
  uint32_t key = 0;
  for (int bit = 31; bit >= 0; --bit)
    if (at_least(key | 1u << bit)) key |= 1u << bit;
  return key;
}

// The key below which a row's tokens are out, after top-k and top-p.
__device__ uint32_t border_of(const SampleView& view, const float* row, float maximum, float temperature, float* shared) {
  const int top_k = view.top_k[blockIdx.x];
  const float top_p = view.top_p[blockIdx.x];
  uint32_t border = 0;
  if (top_k > 0 && top_k < view.vocab) {
    border = largest_key([&](uint32_t key) {
      float count = 0;   // exact: a vocabulary has fewer than 2^24 entries
      for (int i = threadIdx.x; i < view.vocab; i += kThreads) count += key_of(row[i]) >= key;
      return block_sum(count, shared) >= static_cast<float>(top_k);
    });
  }
  if (top_p >= 1.0f) return border;
  const auto mass = [&](uint32_t key) {
    float sum = 0;
    for (int i = threadIdx.x; i < view.vocab; i += kThreads)
      if (key_of(row[i]) >= key) sum += expf((row[i] - maximum) / temperature);
    return block_sum(sum, shared);
  };
  const float wanted = top_p * mass(border);
  const uint32_t kept = largest_key([&](uint32_t key) { return mass(key) >= wanted; });
  return max(border, min(kept, key_of(maximum)));   // a sum of 0 is reached by nothing: the best token stays
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SampleView view) {
  __shared__ float shared[33];
  __shared__ Best bests[33];
  const float* row = view.logits + blockIdx.x * view.pitch;
  const float temperature = view.temperature[blockIdx.x];
  Best best{-INFINITY, INT32_MAX};
  bool holds_nan = false;   // comparisons step over it
  for (int i = threadIdx.x; i < view.vocab; i += kThreads) {
    const float x = row[i];
    holds_nan |= x != x;
    if (is_better({x, i}, best)) best = {x, i};
  }
  best = block_best(best, bests);
  const bool is_usable = !__syncthreads_or(holds_nan) && isfinite(best.value);
  if (temperature > 0 && is_usable) {
    const float maximum = best.value, min_p = view.min_p[blockIdx.x];
    const uint32_t border = border_of(view, row, maximum, temperature, shared);
    const uint64_t seed = view.seeds[blockIdx.x], position = view.positions[blockIdx.x];
    Best drawn{-INFINITY, INT32_MAX};
    for (int i = threadIdx.x; i < view.vocab; i += kThreads) {
      if (key_of(row[i]) < border || row[i] == -INFINITY) continue;
      const float scaled = (row[i] - maximum) / temperature;
      if (min_p > 0 && expf(scaled) < min_p) continue;
      const Best candidate{row[i] / temperature + gumbel_of_bits(sample_bits(seed, position, i)), i};
      if (is_better(candidate, drawn)) drawn = candidate;
    }
    best = block_best(drawn, bests);
  }
  if (threadIdx.x == 0) store_draw(view, blockIdx.x, is_usable, best.index);
}

void run_sample(Stream& stream, const SampleArgs& args) {
  launch(stream, sample_kernel, dim3(args.logits.shape[0]), dim3(kThreads), 0, sample_view(args));
}

// --- masks, penalties, biases --------------------------------------------------------------------------------------------------

__global__ void limit_kernel(float* logits, int64_t pitch, int num_valid, int vocab) {
  for (int i = num_valid + threadIdx.x; i < vocab; i += blockDim.x) logits[blockIdx.x * pitch + i] = -INFINITY;
}

__global__ void mask_kernel(float* logits, int64_t pitch, const uint32_t* masks, int64_t mask_pitch, const int32_t* rows, int vocab) {
  float* row = logits + rows[blockIdx.x] * pitch;
  const uint32_t* mask = masks + blockIdx.x * mask_pitch;
  for (int i = threadIdx.x; i < vocab; i += blockDim.x)
    if ((mask[i / 32] >> i % 32 & 1u) == 0) row[i] = -INFINITY;
}

void run_mask_logits(Stream& stream, const MaskLogitsArgs& args) {
  const int vocab = static_cast<int>(args.logits.shape[1]);
  float* logits = args.logits.as<float>();
  if (args.num_valid_tokens < vocab)
    launch(stream, limit_kernel, dim3(args.logits.shape[0]), dim3(kEntryThreads), 0, logits, args.logits.strides[0], args.num_valid_tokens, vocab);
  if (args.masks.is_empty()) return;
  launch(stream, mask_kernel, dim3(args.masks.shape[0]), dim3(kEntryThreads), 0, logits, args.logits.strides[0],
         args.masks.as<uint32_t>(), args.masks.strides[0], args.mask_rows.as<int32_t>(), vocab);
}

struct PenaltyView {
  float* logits;
  int64_t pitch;
  const int32_t *rows, *token_ids, *output_counts;
  const float *repetition, *frequency, *presence;
  int num_entries;
};

__global__ void penalties_kernel(PenaltyView view) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= view.num_entries) return;
  const int row = view.rows[i], count = view.output_counts[i];
  float& logit = view.logits[row * view.pitch + view.token_ids[i]];
  const float repetition = view.repetition[row];
  float x = logit > 0 ? logit / repetition : logit * repetition;
  x -= view.frequency[row] * static_cast<float>(count);
  logit = count > 0 ? x - view.presence[row] : x;
}

void run_penalties(Stream& stream, const PenaltiesArgs& args) {
  if (args.rows.is_empty()) return;
  const PenaltyView view{args.logits.as<float>(), args.logits.strides[0], args.rows.as<int32_t>(), args.token_ids.as<int32_t>(),
                         args.output_counts.as<int32_t>(), args.repetition.as<float>(), args.frequency.as<float>(),
                         args.presence.as<float>(), static_cast<int>(args.rows.shape[0])};
  launch(stream, penalties_kernel, dim3(ceil_div(view.num_entries, kEntryThreads)), dim3(kEntryThreads), 0, view);
}

// Entries may name a token twice: they are added one after the other, in order, so that the sum is always the same.
__global__ void bias_kernel(float* logits, int64_t pitch, const int32_t* rows, const int32_t* token_ids, const float* values, int num_entries) {
  for (int i = 0; i < num_entries; ++i)
    if (token_ids[i] % blockDim.x == threadIdx.x) logits[rows[i] * pitch + token_ids[i]] += values[i];
}

void run_logit_bias(Stream& stream, const LogitBiasArgs& args) {
  if (args.rows.is_empty()) return;
  launch(stream, bias_kernel, dim3(1), dim3(kEntryThreads), 0, args.logits.as<float>(), args.logits.strides[0], args.rows.as<int32_t>(),
         args.token_ids.as<int32_t>(), args.values.as<float>(), static_cast<int>(args.rows.shape[0]));
}

// --- logprobs -------------------------------------------------------------------------------------------------------------------------

struct LogprobsView {
  const float* logits;
  int64_t pitch;
  int vocab, num_top;
  const int32_t* chosen;
  float *chosen_logprobs, *top_logprobs;
  int32_t *chosen_ranks, *top_ids;
};

__global__ void __launch_bounds__(kThreads) logprobs_kernel(LogprobsView view) {
  __shared__ float shared[33];
  __shared__ Best bests[33];
  const float* row = view.logits + blockIdx.x * view.pitch;
  const auto next_best = [&](const Best& after) {   // the best token that comes after `after` in falling order
    Best best{-INFINITY, INT32_MAX};
    for (int i = threadIdx.x; i < view.vocab; i += kThreads)
      if (is_better(after, {row[i], i}) && is_better({row[i], i}, best)) best = {row[i], i};
    return block_best(best, bests);
  };
  Best best = next_best({INFINITY, -1});
  float sum = 0, rank = 0;
  const int pick = view.chosen[blockIdx.x];
  const float chosen = pick < 0 ? nanf("") : row[pick];
  for (int i = threadIdx.x; i < view.vocab; i += kThreads) sum += expf(row[i] - best.value), rank += row[i] > chosen;
  const float log_sum = best.value + logf(block_sum(sum, shared));
  rank = block_sum(rank, shared);
  if (threadIdx.x == 0) {
    view.chosen_logprobs[blockIdx.x] = chosen - log_sum;
    view.chosen_ranks[blockIdx.x] = 1 + static_cast<int>(rank);
  }
  for (int k = 0; k < view.num_top; ++k) {
    if (threadIdx.x == 0) {
      view.top_ids[blockIdx.x * view.num_top + k] = best.index;
      view.top_logprobs[blockIdx.x * view.num_top + k] = best.value - log_sum;
    }
    best = next_best(best);
  }
}

void run_logprobs(Stream& stream, const LogprobsArgs& args) {
  LogprobsView view{};
  view.logits = args.logits.as<float>(), view.pitch = args.logits.strides[0], view.vocab = static_cast<int>(args.logits.shape[1]);
  view.chosen = args.chosen.as<int32_t>();
  view.chosen_logprobs = args.chosen_logprobs.as<float>(), view.chosen_ranks = args.chosen_ranks.as<int32_t>();
  if (!args.top_ids.is_empty()) {
    view.num_top = static_cast<int>(args.top_ids.shape[1]);
    view.top_ids = args.top_ids.as<int32_t>(), view.top_logprobs = args.top_logprobs.as<float>();
  }
  launch(stream, logprobs_kernel, dim3(args.logits.shape[0]), dim3(kThreads), 0, view);
}

}  // namespace

const OpImpl<MaskLogitsArgs> kMaskLogits[1] = {{"mask_logits_sm80", supports_any, run_mask_logits}};
const OpImpl<PenaltiesArgs> kPenalties[1] = {{"apply_penalties_sm80", supports_any, run_penalties}};
const OpImpl<LogitBiasArgs> kLogitBias[1] = {{"apply_logit_bias_sm80", supports_any, run_logit_bias}};
const OpImpl<SampleArgs> kSample[2] = {{"sample_cluster_sm90", sample_cluster_supports, run_sample_cluster},
                                       {"sample_sm80", supports_any, run_sample}};
const OpImpl<LogprobsArgs> kLogprobs[1] = {{"logprobs_sm80", supports_any, run_logprobs}};

}  // namespace gale::cuda
