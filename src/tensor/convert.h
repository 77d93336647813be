#pragma once

#include <bit>
#include <cstdint>

// Number formats of checkpoints and caches as bit patterns, to and from fp32: round to nearest, ties to even.
// NaN stays NaN. bf16 and f16 overflow to infinity; fp8 e4m3 (no infinity) saturates at ±448, as the KV cache wants.

namespace gale {

inline constexpr float kF8E4M3Max = 448.0f;

[[nodiscard]] constexpr float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

[[nodiscard]] constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // a quiet NaN, sign kept
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

[[nodiscard]] constexpr float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // The bits shifted into place read as a float 2^112 too small, subnormals included.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

namespace convert_detail {

// Magnitude of a finite fp32 as a format with `mantissa_bits` and exponent bias `bias`, before any overflow is handled.
[[nodiscard]] constexpr uint32_t round_magnitude(uint32_t magnitude, int mantissa_bits, int bias) {
  const int dropped = 23 - mantissa_bits;
  const int exponent = static_cast<int>(magnitude >> 23) - 127 + bias;
  if (exponent <= 0) {                                             // a subnormal of the target, or zero
    const int shift = dropped + 1 - exponent;
    if (shift > 25 || magnitude < 0x00800000u) return 0;           // below half of the smallest subnormal
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const uint32_t kept = mantissa >> shift;
    const uint32_t rest = mantissa & ((1u << shift) - 1u);
    const uint32_t half = 1u << (shift - 1);
    return kept + (rest > half || (rest == half && (kept & 1u)) ? 1u : 0u);
  }
  const uint32_t rebased = magnitude - (static_cast<uint32_t>(127 - bias) << 23);
  return (rebased + (1u << (dropped - 1)) - 1u + ((rebased >> dropped) & 1u)) >> dropped;
}

}  // namespace convert_detail

[[nodiscard]] constexpr uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);   // 65536 and more
  return static_cast<uint16_t>(sign | convert_detail::round_magnitude(magnitude, 10, 15));   // may round up to infinity
}

[[nodiscard]] constexpr float f8e4m3_to_f32(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  const uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

[[nodiscard]] constexpr uint8_t f32_to_f8e4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= std::bit_cast<uint32_t>(kF8E4M3Max)) return static_cast<uint8_t>(sign | 0x7eu);
  return static_cast<uint8_t>(sign | convert_detail::round_magnitude(magnitude, 3, 7));
}

}  // namespace gale
