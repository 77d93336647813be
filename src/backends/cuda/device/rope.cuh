#pragma once

#include <cmath>

#include "backends/cuda/device/common.cuh"
#include "ops/rope.h"

namespace gale::cuda {

inline constexpr int kMaxRotaryPairs = 128;

// cos and sin of every frequency of one token, in shared memory.
struct RopeAngles { float cosine[kMaxRotaryPairs]; float sine[kMaxRotaryPairs]; };

// The parameters of ops/rope.h as plain values for a kernel. Frequencies are computed on the host in fp64: in fp32 the power
// theta^(-2j/R) loses angles at 100k tokens.
struct RopeView {
  const int32_t* positions;   // [3, T]
  int num_tokens;             // T: the pitch of positions
  int num_pairs;              // rotary_dim / 2
  int section0, section01;    // frequencies of axis 0, of axes 0 and 1
  bool interleaved;
  float frequency[kMaxRotaryPairs];

  __device__ int axis(int j) const { return j < section0 ? 0 : j < section01 ? 1 : 2; }
};

inline RopeView rope_view(const RopeParams& rope, const Tensor& positions) {
  const int num_pairs = rope.rotary_dim / 2;
  CHECK(num_pairs <= kMaxRotaryPairs, "rotary_dim {}", rope.rotary_dim);
  RopeView view{positions.as<int32_t>(), static_cast<int>(positions.strides[0]), num_pairs, rope.sections[0],
                rope.sections[0] + rope.sections[1], rope.pairing == RopePairing::kInterleaved, {}};
  for (int j = 0; j < num_pairs; ++j) {
    view.frequency[j] = static_cast<float>(std::pow(rope.theta, -static_cast<double>(j) / num_pairs));
  }
  return view;
}

// Filled by the whole block; a barrier follows.
__device__ inline void compute_angles(RopeAngles& angles, const RopeView& rope, int token) {
  for (int j = threadIdx.x; j < rope.num_pairs; j += blockDim.x) {
    const float angle = static_cast<float>(rope.positions[rope.axis(j) * rope.num_tokens + token]) * rope.frequency[j];
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

// --- eight elements a lane --------------------------------------------------------------------------------------------------

// May a lane's eight elements be rotated by an EightRotation?
inline bool rotates_by_eight(const RopeParams& rope) {
  return rope.rotary_dim % (rope.pairing == RopePairing::kInterleaved ? 8 : 16) == 0;
}

// The rotation of elements first … first + 7 of heads that lie over consecutive lanes: a lane's angles, in registers
// for all the heads that it takes. A pair lies in one lane (interleaved) or in two lanes num_pairs / 8 apart.
struct EightRotation {
  float cosine[8], sine[8];   // interleaved: of four pairs; else with the sign of this half
  int partner;                // lane with the other half of the pairs
  bool interleaved, inside;

  // Reads what compute_angles left in shared memory.
  __device__ EightRotation(const RopeAngles& angles, const RopeView& rope, int first)
      : interleaved(rope.interleaved), inside(first < 2 * rope.num_pairs) {
    const int lane = threadIdx.x % kWarpSize;
    const bool second = !interleaved && first >= rope.num_pairs;
    partner = inside && !interleaved ? lane + (second ? -rope.num_pairs : rope.num_pairs) / 8 : lane;
    const int begin = !inside ? 0 : interleaved ? first / 2 : first - (second ? rope.num_pairs : 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int j = begin + (interleaved ? i % 4 : i);
      cosine[i] = inside ? angles.cosine[j] : 1.0f;
      sine[i] = !inside ? 0.0f : second || interleaved ? angles.sine[j] : -angles.sine[j];
    }
  }
  // All lanes of the warp call it.
  __device__ void apply(float (&x)[8]) const {
    if (interleaved) {
#pragma unroll
      for (int i = 0; i < 8; i += 2) {
        const float a = x[i], b = x[i + 1];
        x[i] = a * cosine[i / 2] - b * sine[i / 2];
        x[i + 1] = b * cosine[i / 2] + a * sine[i / 2];
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float other = __shfl_sync(kFullMask, x[i], partner);
      x[i] = x[i] * cosine[i] + other * sine[i];
    }
  }
};

}  // namespace gale::cuda
