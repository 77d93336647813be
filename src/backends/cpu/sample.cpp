#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/cpu_stream.h"
#include "backends/cpu/kernels.h"
#include "ops/philox.h"

namespace gale {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

struct Row {
  const float* logits;
  int64_t size;
};

// Lowest index of the largest logit; 0 if all are -inf.
int64_t index_of(const Row& row, float value) {
  const float* found = std::find(row.logits, row.logits + row.size, value);
  return found == row.logits + row.size ? 0 : found - row.logits;
}

// Bits of a float in its order, so that a radix search finds a quantile.
uint32_t ordered(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float from_ordered(uint32_t key) { return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// The largest value v such that the weights of all logits >= v (of those >= floor) sum up to target(total) at least.
// Three passes narrow its bits down by histograms: no sort and no memory. `weigh(out, first, size)` gives the weights.
template <class Weigh, class Target>
float threshold(const Row& row, float floor, Weigh weigh, Target target) {
  constexpr int kBits = 11, kPasses = 3, kStretch = 256;
  double above = 0, goal = 0;      // weight over what is still searched; what must be reached
  uint32_t prefix = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const int shift = std::max(0, 32 - kBits * (pass + 1)), width = pass == kPasses - 1 ? 32 - kBits * pass : kBits;
    double bins[1 << kBits] = {};
    for (int64_t begin = 0; begin < row.size; begin += kStretch) {
      float weights[kStretch];
      const int64_t size = std::min<int64_t>(kStretch, row.size - begin);
      weigh(weights, row.logits + begin, size);
      for (int64_t i = 0; i < size; ++i) {
        const float logit = row.logits[begin + i];
        const uint32_t key = ordered(logit);
        const bool is_searched = pass == 0 || key >> (shift + width) == prefix;
        if (logit >= floor && is_searched) bins[key >> shift & ((1u << width) - 1)] += weights[i];
      }
    }
    if (pass == 0) {
      double total = 0;
      for (const double bin : bins) total += bin;
      goal = target(total);
    }
    int chosen = -1;
    for (int bin = (1 << width) - 1; bin >= 0; --bin) {
      if (bins[bin] == 0) continue;
      if (chosen >= 0) above += bins[chosen];
      chosen = bin;                // if rounding keeps the goal out of reach: the last that has any weight
      if (above + bins[bin] >= goal) break;
    }
    if (chosen < 0) return floor;  // nothing has weight
    prefix = prefix << width | static_cast<uint32_t>(chosen);
  }
  return from_ordered(prefix);
}

// The logit below which nothing may be drawn.
float cut(const SampleArgs& args, const Row& row, int64_t r, float max, float temperature) {
  float floor = kForbidden;
  const int32_t top_k = args.top_k.row<int32_t>(r)[0];
  const float top_p = args.top_p.row<float>(r)[0], min_p = args.min_p.row<float>(r)[0];
  if (top_k > 0 && top_k < row.size) {
    floor = threshold(
        row, floor, [](float* out, const float*, int64_t size) { std::fill_n(out, size, 1.0f); },
        [top_k](double) { return static_cast<double>(top_k); });
  }
  if (top_p < 1) {
    floor = threshold(
        row, floor,
        [max, temperature](float* out, const float* logits, int64_t size) {
          cpu_kernels().exp_of(out, logits, 1 / temperature, max, size);
        },
        [top_p](double total) { return static_cast<double>(top_p) * total; });
  }
  if (min_p > 0) floor = std::max(floor, max + temperature * std::log(min_p));
  return floor;
}

// Comparisons step over a NaN, so it is looked for.
bool holds_nan(const Row& row) {
  bool found = false;
  for (int64_t i = 0; i < row.size; ++i) found |= row.logits[i] != row.logits[i];
  return found;
}

int64_t draw(const SampleArgs& args, int64_t r) {
  const Row row{args.logits.row<float>(r), args.logits.shape[1]};
  const float max = cpu_kernels().max_of(row.logits, row.size), temperature = args.temperature.row<float>(r)[0];
  if (!std::isfinite(max) || holds_nan(row)) return -1;
  const int64_t likeliest = index_of(row, max);
  if (temperature <= 0) return likeliest;
  const float floor = cut(args, row, r, max, temperature);
  const auto seed = static_cast<uint64_t>(args.seeds.row<int64_t>(r)[0]);
  const auto position = static_cast<uint64_t>(args.positions.row<int64_t>(r)[0]);
  const auto noisy = [&](int64_t token) {
    return row.logits[token] / temperature + gumbel_of_bits(sample_bits(seed, position, static_cast<uint32_t>(token)));
  };
  int64_t best = likeliest;
  float best_score = noisy(likeliest);
  for (int64_t token = 0; token < row.size; ++token) {
    const float logit = row.logits[token];
    if (!(logit >= floor) || logit == kForbidden) continue;
    if (logit / temperature + kMaxGumbel < best_score) continue;   // cannot win: spare the random number
    const float score = noisy(token);
    if (score > best_score || (score == best_score && token < best)) {
      best = token;
      best_score = score;
    }
  }
  return best;
}

// The best k tokens by falling logit, lowest id on ties, kept sorted in the output row while the vocabulary goes by.
void keep_best(const Row& row, int32_t* ids, float* values, int64_t k) {
  int64_t num_kept = 0;
  for (int64_t token = 0; token < row.size; ++token) {
    const float logit = row.logits[token];
    if (num_kept == k && !(logit > values[k - 1])) continue;
    int64_t at = num_kept < k ? num_kept++ : k - 1;
    for (; at > 0 && logit > values[at - 1]; --at) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = logit;
    ids[at] = static_cast<int32_t>(token);
  }
}

}  // namespace

void cpu_sample(Stream& stream, const SampleArgs& args) {
  for_each_row(stream, args.logits.shape[0], args.logits.shape[1], [&](int64_t r) {
    const auto token = static_cast<int32_t>(draw(args, r));
    args.token_ids.row<int32_t>(r)[0] = token;
    const int32_t slot = args.slots.is_empty() ? -1 : args.slots.row<int32_t>(r)[0];
    if (slot >= 0) args.last_tokens.row<int32_t>(slot)[0] = std::max(0, token);
  });
}

void cpu_logprobs(Stream& stream, const LogprobsArgs& args) {
  const int64_t vocabulary = args.logits.shape[1], k = args.top_ids.is_empty() ? 0 : args.top_ids.shape[1];
  for_each_row(stream, args.logits.shape[0], 8 * vocabulary, [&](int64_t r) {
    const Row row{args.logits.row<float>(r), vocabulary};
    const float max = cpu_kernels().max_of(row.logits, row.size);
    const auto log_sum = static_cast<float>(std::log(cpu_kernels().sum_of_exp(row.logits, 1.0f, max, row.size)));
    const int32_t chosen = args.chosen.row<int32_t>(r)[0];
    CHECK(chosen >= -1 && chosen < vocabulary, "row {} chose token {} of {}", r, chosen, vocabulary);
    const float logit = chosen < 0 ? std::numeric_limits<float>::quiet_NaN() : row.logits[chosen];
    args.chosen_logprobs.row<float>(r)[0] = logit - max - log_sum;
    args.chosen_ranks.row<int32_t>(r)[0] = 1 + static_cast<int32_t>(std::count_if(
        row.logits, row.logits + row.size, [logit](float other) { return other > logit; }));
    if (k == 0) return;
    float* values = args.top_logprobs.row<float>(r);
    keep_best(row, args.top_ids.row<int32_t>(r), values, k);
    for (int64_t i = 0; i < k; ++i) values[i] = values[i] - max - log_sum;
  });
}

}  // namespace gale
