#pragma once

#include <cmath>

#include "base/check.h"
#include "ops/attention.h"

namespace gale {

// Rotation of a step's heads: frequencies are made once a call, angles once a token.
class Rope {
 public:
  static constexpr int kMaxPairs = 256;

  explicit Rope(const RopeParams& params) : params_(params), num_pairs_(params.rotary_dim / 2) {
    CHECK(num_pairs_ <= kMaxPairs, "rope of {} dims, at most {}", params.rotary_dim, 2 * kMaxPairs);
    for (int j = 0; j < num_pairs_; ++j) {
      frequency_[j] = static_cast<float>(std::pow(params.theta, -2.0 * j / params.rotary_dim));
    }
  }

  // Cosines and sines at one token's three positions.
  struct Angles { float cos[kMaxPairs]; float sin[kMaxPairs]; };
  void angles_of(Angles& angles, const Tensor& positions, int64_t token) const {
    for (int j = 0; j < num_pairs_; ++j) {
      const int axis = j < params_.sections[0] ? 0 : j < params_.sections[0] + params_.sections[1] ? 1 : 2;
      const auto position = static_cast<float>(positions.row<int32_t>(axis)[token]);
      angles.cos[j] = std::cos(position * frequency_[j]);
      angles.sin[j] = std::sin(position * frequency_[j]);
    }
  }

  // Rotates the first rotary_dim elements of a head and copies the rest; out may be in.
  void rotate(float* out, const float* in, int64_t head_dim, const Angles& angles) const {
    const bool is_interleaved = params_.pairing == RopePairing::kInterleaved;
    const int step = is_interleaved ? 2 : 1, partner = is_interleaved ? 1 : num_pairs_;
    for (int j = 0; j < num_pairs_; ++j) {
      const float a = in[j * step], b = in[j * step + partner];
      out[j * step] = a * angles.cos[j] - b * angles.sin[j];
      out[j * step + partner] = b * angles.cos[j] + a * angles.sin[j];
    }
    for (int64_t i = params_.rotary_dim; i < head_dim; ++i) out[i] = in[i];
  }

 private:
  RopeParams params_;
  int num_pairs_;
  float frequency_[kMaxPairs];
};

}  // namespace gale
