#include "layers/random_routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace gale {
namespace {

// Shares of other random tokens than the biases were found with.
std::vector<double> shares_of(const std::vector<float>& biases, int num_chosen) {
  std::mt19937 random(3);
  std::normal_distribution<float> logit;
  constexpr int kNumTokens = 4000;
  std::vector<double> shares(biases.size());
  for (int t = 0; t < kNumTokens; ++t) {
    std::vector<std::pair<float, size_t>> ranked;
    for (size_t e = 0; e < biases.size(); ++e)
      ranked.emplace_back(1 / (1 + std::exp(-logit(random))) + biases[e], e);
    std::sort(ranked.rbegin(), ranked.rend());
    for (int i = 0; i < num_chosen; ++i) shares[ranked[static_cast<size_t>(i)].second] += 1.0 / kNumTokens;
  }
  return shares;
}

TEST(RandomRouting, zipf_biases_make_the_shares_of_zipfs_law) {
  const std::vector<double> shares = shares_of(zipf_biases(64, 4), 4);
  double harmonic = 0;
  for (int e = 1; e <= 64; ++e) harmonic += 1.0 / e;
  for (size_t e = 0; e < 64; ++e) {
    const double wanted = 4 / harmonic / static_cast<double>(e + 1);   // the first: 0.84
    EXPECT_NEAR(shares[e], wanted, 0.15 * wanted + 0.01) << "expert " << e;
  }
}

TEST(RandomRouting, what_the_law_gives_beyond_nine_tenths_goes_to_the_others) {
  const std::vector<double> shares = shares_of(zipf_biases(128, 8), 8);
  EXPECT_NEAR(shares[0], 0.9, 0.05);
  EXPECT_NEAR(shares[3] / shares[7], 2.0, 0.35);
  EXPECT_GT(*std::min_element(shares.begin(), shares.end()), 0.003);
}

}  // namespace
}  // namespace gale
