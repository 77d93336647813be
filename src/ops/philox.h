#pragma once

#include <cmath>
#include <cstdint>

// Counter-based random numbers (Philox4x32, 10 rounds) and the Gumbel noise made of them, as plain functions that host
// and device code share, so that both draw the same token.

#if defined(__CUDACC__)
#define GALE_HOST_DEVICE __host__ __device__
#else
#define GALE_HOST_DEVICE
#endif

namespace gale {

struct PhiloxWords { uint32_t word[4]; };

GALE_HOST_DEVICE inline PhiloxWords philox4x32_10(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(0xD2511F53u) * counter.word[0];
    const uint64_t product1 = static_cast<uint64_t>(0xCD9E8D57u) * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;   // golden ratio
    key1 += 0xBB67AE85u;   // sqrt(3) - 1
  }
  return counter;
}

// The random bits of four neighbouring tokens, the first a multiple of 4, at one place of one seeded sequence. Counter
// words: position low, high, token id / 4, 0.
GALE_HOST_DEVICE inline PhiloxWords sample_bits_of_four(uint64_t seed, uint64_t position, uint32_t first_token_id) {
  const auto low = static_cast<uint32_t>(position), high = static_cast<uint32_t>(position >> 32);
  const PhiloxWords counter{{low, high, first_token_id / 4, 0u}};
  return philox4x32_10(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// Those of one token.
GALE_HOST_DEVICE inline uint32_t sample_bits(uint64_t seed, uint64_t position, uint32_t token_id) {
  const PhiloxWords bits = sample_bits_of_four(seed, position, token_id & ~3u);
  const uint32_t low = token_id & 1 ? bits.word[1] : bits.word[0], high = token_id & 1 ? bits.word[3] : bits.word[2];
  return token_id & 2 ? high : low;
}

// -log(-log(u)) for u = (bits + 0.5) / 2^32. Near u = 1 it works on 1 - u, which fp32 can hold where u would round
// to 1.
GALE_HOST_DEVICE inline float gumbel_of_bits(uint32_t bits) {
  constexpr float kScale = 1.0f / 4294967296.0f;
  if (bits < 0x80000000u) return -logf(-logf((static_cast<float>(bits) + 0.5f) * kScale));
  return -logf(-log1pf(-(static_cast<float>(~bits) + 0.5f) * kScale));
}

// No draw exceeds this: -log(-log(1 - 2^-33)) = 22.87. A logit further below the best cannot win.
inline constexpr float kMaxGumbel = 23.0f;

}  // namespace gale
