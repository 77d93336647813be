#pragma once

#include <cstdint>
#include <vector>

namespace gale {

// How often the experts of random weights are chosen: all alike, or by Zipf's law, as if few topics were asked about.
enum class RandomRouting : uint8_t { kBalanced, kZipf };

// Correction biases [num_experts] of a router whose logits are normal with a spread of 1, such that the e-th expert is
// among the num_chosen best of sigmoid(logit) + bias in a share of tokens proportional to 1 / (e + 1): Zipf's law with
// exponent 1. No share exceeds 0.9, what the law gives beyond that goes to the others. Found by trying on random
// tokens, the same ones each time.
[[nodiscard]] std::vector<float> zipf_biases(int num_experts, int num_chosen);

}  // namespace gale
