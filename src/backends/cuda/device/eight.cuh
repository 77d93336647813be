#pragma once

#include "backends/cuda/device/flash.cuh"

// Eight elements at a time: one 16-byte access in bf16, one of 8 bytes in FP8.
namespace gale::cuda {

__device__ inline void spread_eight(float (&x)[8], const uint4& raw) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = floats_of_bf16(words[i]);
    x[2 * i] = two.x, x[2 * i + 1] = two.y;
  }
}
__device__ inline void load_eight(float (&x)[8], const Bf16* from) { spread_eight(x, load_16(from)); }

// As stored in bf16.
__device__ inline uint4 eight_in_bf16(const Bf16* from) { return load_16(from); }
__device__ inline uint4 eight_in_bf16(const Fp8* from) {
  const uint2 raw = *reinterpret_cast<const uint2*>(from);
  const auto* bytes = reinterpret_cast<const Fp8*>(&raw);
  const auto pair = [&](int i) { return pack_bf16(to_float(bytes[i]), to_float(bytes[i + 1])); };
  return {pair(0), pair(2), pair(4), pair(6)};
}

__device__ inline void store_eight(Bf16* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])};
}

__device__ inline void store_eight(Fp8* to, const float (&x)[8]) {   // saturates
  uint32_t words[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t low = __nv_cvt_float2_to_fp8x2({x[4 * i], x[4 * i + 1]}, __NV_SATFINITE, __NV_E4M3);
    const uint32_t high = __nv_cvt_float2_to_fp8x2({x[4 * i + 2], x[4 * i + 3]}, __NV_SATFINITE, __NV_E4M3);
    words[i] = low | high << 16;
  }
  *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
}

__device__ inline float squares_of(const float (&x)[8]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += x[i] * x[i];
  return sum;
}

// Normalised, rounded, then weighted: the order of the models.
__device__ inline void norm_eight(float (&x)[8], float factor, const Bf16* weight) {
  float w[8];
  load_eight(w, weight);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = to_float(from_float<Bf16>(x[i] * factor)) * w[i];
}

}  // namespace gale::cuda
