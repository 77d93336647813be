#pragma once

#include "backends/cuda/device/common.cuh"
#include "ops/rope.h"

namespace gale::cuda {

inline constexpr int kMaxRotaryPairs = 128;

// cos and sin of every frequency of one token, in shared memory.
struct RopeAngles { float cosine[kMaxRotaryPairs]; float sine[kMaxRotaryPairs]; };

// The parameters of ops/rope.h as plain values for a kernel.
struct RopeView {
  const int32_t* positions;   // [3, T]
  int num_tokens;             // T: the pitch of positions
  int num_pairs;              // rotary_dim / 2
  double theta;
  int section0, section01;    // frequencies of axis 0, of axes 0 and 1
  bool interleaved;
};

inline RopeView rope_view(const RopeParams& rope, const Tensor& positions) {
  CHECK(rope.rotary_dim / 2 <= kMaxRotaryPairs, "rotary_dim {}", rope.rotary_dim);
  return {positions.as<int32_t>(), static_cast<int>(positions.strides[0]), rope.rotary_dim / 2, rope.theta, rope.sections[0],
          rope.sections[0] + rope.sections[1], rope.pairing == RopePairing::kInterleaved};
}

// Filled by the whole block; a barrier follows. The exponent is computed in fp64: theta^(-2j/R) in fp32 loses angles at 100k tokens.
__device__ inline void compute_angles(RopeAngles& angles, const RopeView& rope, int token) {
  for (int j = threadIdx.x; j < rope.num_pairs; j += blockDim.x) {
    const int axis = j < rope.section0 ? 0 : j < rope.section01 ? 1 : 2;
    const float frequency = static_cast<float>(pow(rope.theta, -static_cast<double>(j) / rope.num_pairs));
    const float angle = static_cast<float>(rope.positions[axis * rope.num_tokens + token]) * frequency;
    sincosf(angle, &angles.sine[j], &angles.cosine[j]);
  }
  __syncthreads();
}

// The rotated value of element i < 2 * num_pairs of a head; at(i) reads the head before rotation.
template <class At>
__device__ float rotated(const RopeAngles& angles, const RopeView& rope, int i, At&& at) {
  const int j = rope.interleaved ? i / 2 : i % rope.num_pairs;
  const bool second = rope.interleaved ? i % 2 == 1 : i >= rope.num_pairs;
  const float x = at(rope.interleaved ? 2 * j : j), y = at(rope.interleaved ? 2 * j + 1 : j + rope.num_pairs);
  return second ? y * angles.cosine[j] + x * angles.sine[j] : x * angles.cosine[j] - y * angles.sine[j];
}

}  // namespace gale::cuda
