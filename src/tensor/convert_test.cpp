#include "tensor/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace gale {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The value of a small float format by its definition: no bit tricks, so that it can judge them.
double by_definition(uint32_t bits, int exponent_bits, int mantissa_bits, int bias) {
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const double sign = bits >> (exponent_bits + mantissa_bits) & 1u ? -1.0 : 1.0;
  const double fraction = mantissa / std::ldexp(1.0, mantissa_bits);
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias));
}

TEST(Convert, every_bf16_and_f16_widens_to_its_value_and_back) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float from_bf16 = bf16_to_f32(half);
    if (std::isnan(from_bf16)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(from_bf16))));
    } else {
      ASSERT_EQ(f32_to_bf16(from_bf16), half);
      if (std::isfinite(from_bf16)) {
        ASSERT_EQ(from_bf16, by_definition(bits, 8, 7, 127));
      }
    }
    const float from_f16 = f16_to_f32(half);
    if ((bits & 0x7c00u) == 0x7c00u) {
      ASSERT_EQ(std::isinf(from_f16), (bits & 0x3ffu) == 0);
      ASSERT_EQ(std::isnan(f16_to_f32(f32_to_f16(from_f16))), (bits & 0x3ffu) != 0);
    } else {
      ASSERT_EQ(from_f16, by_definition(bits, 5, 10, 15));
      ASSERT_EQ(f32_to_f16(from_f16), half);
    }
  }
}

TEST(Convert, every_f8e4m3_widens_to_its_value_and_back) {
  for (uint32_t bits = 0; bits < 0x100; ++bits) {
    const float value = f8e4m3_to_f32(static_cast<uint8_t>(bits));
    if ((bits & 0x7fu) == 0x7fu) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      ASSERT_EQ(value, by_definition(bits, 4, 3, 7));
    }
    ASSERT_EQ(f32_to_f8e4m3(value), bits);
  }
}

// Narrowing must give the neighbour that is nearest, and the even one when two are equally near.
template <class Narrow>
void expect_nearest_even(Narrow narrow, const std::vector<double>& ascending, float value) {
  const auto got = static_cast<size_t>(narrow(value));
  const double error = std::abs(ascending[got] - value);
  if (got > 0) {
    const double below = std::abs(ascending[got - 1] - value);
    ASSERT_TRUE(error < below || (error == below && got % 2 == 0)) << value;
  }
  if (got + 1 < ascending.size()) {
    const double above = std::abs(ascending[got + 1] - value);
    ASSERT_TRUE(error < above || (error == above && got % 2 == 0)) << value;
  }
}

TEST(Convert, narrowing_rounds_to_nearest_even) {
  std::vector<double> f16_values, f8_values;
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) f16_values.push_back(by_definition(bits, 5, 10, 15));
  for (uint32_t bits = 0; bits < 0x7f; ++bits) f8_values.push_back(by_definition(bits, 4, 3, 7));
  std::mt19937 random(7);
  std::uniform_real_distribution<float> exponents(-28.0f, 8.7f);
  for (int i = 0; i < 200000; ++i) {
    const float value = std::exp2(exponents(random));
    expect_nearest_even(f32_to_f16, f16_values, value);
    expect_nearest_even(f32_to_f8e4m3, f8_values, std::min(value, kF8E4M3Max));
  }
  for (size_t i = 0; i + 1 < f8_values.size(); ++i) {   // the exact ties
    expect_nearest_even(f32_to_f8e4m3, f8_values, static_cast<float>((f8_values[i] + f8_values[i + 1]) / 2));
  }
  EXPECT_EQ(f32_to_bf16(1.00390625f), 0x3f80);     // 1 + 2^-8: a tie, down to even
  EXPECT_EQ(f32_to_bf16(1.01171875f), 0x3f82);     // 1 + 3 * 2^-8: a tie, up to even
}

TEST(Convert, overflow_and_special_values) {
  EXPECT_EQ(f32_to_bf16(kInf), 0x7f80);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);         // a tie with 65536, which f16 does not have
  EXPECT_EQ(f32_to_f16(-kInf), 0xfc00);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
  EXPECT_EQ(f32_to_f8e4m3(1e9f), 0x7e);
  EXPECT_EQ(f32_to_f8e4m3(-kInf), 0xfe);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(kNan))));
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(kNan))));
  EXPECT_TRUE(std::isnan(f8e4m3_to_f32(f32_to_f8e4m3(kNan))));
  EXPECT_EQ(f32_to_f16(1e-30f), 0);
  EXPECT_EQ(f32_to_f8e4m3(1e-40f), 0);
}

}  // namespace
}  // namespace gale
