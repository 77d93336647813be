#include "layers/random_routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/check.h"

namespace gale {
namespace {

constexpr double kMaxShare = 0.9;
constexpr int kNumTokens = 1500;
constexpr int kNumRounds = 120;

// Shares of tokens in which each expert is to be chosen; their sum is num_chosen.
std::vector<double> zipf_shares(int num_experts, int num_chosen) {
  std::vector<double> shares(static_cast<size_t>(num_experts));
  for (size_t e = 0; e < shares.size(); ++e) shares[e] = 1 / static_cast<double>(e + 1);
  for (size_t num_full = 0;;) {   // the first num_full have kMaxShare
    const double rest = num_chosen - kMaxShare * static_cast<double>(num_full);
    const double sum = std::accumulate(shares.begin() + static_cast<std::ptrdiff_t>(num_full), shares.end(), 0.0);
    for (size_t e = num_full; e < shares.size(); ++e) shares[e] *= rest / sum;
    const size_t before = num_full;
    while (num_full < shares.size() && shares[num_full] > kMaxShare) shares[num_full++] = kMaxShare;
    if (num_full == before) return shares;
  }
}

// sigmoid(logit) of random tokens, [kNumTokens, num_experts].
std::vector<float> random_scores(int num_experts) {
  std::mt19937_64 random(20);
  std::normal_distribution<float> logit;
  std::vector<float> scores(static_cast<size_t>(kNumTokens) * static_cast<size_t>(num_experts));
  for (float& score : scores) score = 1 / (1 + std::exp(-logit(random)));
  return scores;
}

std::vector<double> observed_shares(const std::vector<float>& scores, const std::vector<float>& biases,
                                    int num_chosen) {
  const size_t num_experts = biases.size();
  std::vector<double> shares(num_experts, 0.5 / kNumTokens);   // none is 0: logarithms are taken
  std::vector<std::pair<float, size_t>> ranked(num_experts);
  for (size_t begin = 0; begin < scores.size(); begin += num_experts) {
    for (size_t e = 0; e < num_experts; ++e) ranked[e] = {scores[begin + e] + biases[e], e};
    std::nth_element(ranked.begin(), ranked.begin() + num_chosen - 1, ranked.end(), std::greater<>());
    for (int i = 0; i < num_chosen; ++i) shares[ranked[static_cast<size_t>(i)].second] += 1.0 / kNumTokens;
  }
  return shares;
}

}  // namespace

std::vector<float> zipf_biases(int num_experts, int num_chosen) {
  CHECK(num_chosen > 0 && num_chosen <= kMaxShare * num_experts, "{} of {} experts", num_chosen, num_experts);
  const std::vector<double> wanted = zipf_shares(num_experts, num_chosen);
  const std::vector<float> scores = random_scores(num_experts);
  std::vector<float> biases(static_cast<size_t>(num_experts), 0.0f);
  for (int round = 0; round < kNumRounds; ++round) {
    const std::vector<double> got = observed_shares(scores, biases, num_chosen);
    const double step = 0.1 / (1 + 0.05 * round);
    for (size_t e = 0; e < biases.size(); ++e)   // of the odds, so that a share near 1 moves too
      biases[e] += static_cast<float>(step * (std::log(wanted[e] / (1 - wanted[e])) -
                                              std::log(got[e] / std::max(1 - got[e], 0.5 / kNumTokens))));
  }
  return biases;
}

}  // namespace gale
