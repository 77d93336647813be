#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoint_editor.h"
#include "model_driver.h"
#include "tensor/convert.h"

// FP8 checkpoints (compressed-tensors, a scale a row) on a backend without FP8 weights: the same bits as the bf16
// checkpoint that holds value * scale. What transformers makes of such files is in data/*_fp8 (golden_models_test.cpp).

namespace gale::golden {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Json fp8_config() {
  return {
      {"quant_method", "compressed-tensors"},
      {"format", "float-quantized"},
      {"kv_cache_scheme", nullptr},
      {"ignore", {"lm_head"}},
      {"config_groups",
       {{"group_0",
         {{"targets", {"Linear"}},
          {"weights",
           {{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "channel"}, {"dynamic", false}}},
          {"input_activations", {{"num_bits", 8}, {"type", "float"}, {"strategy", "token"}, {"dynamic", true}}}}}}}};
}

float element(const StoredBytes& tensor, size_t index) {
  uint16_t bits = 0;
  std::memcpy(&bits, tensor.bytes.data() + index * 2, 2);
  return bf16_to_f32(bits);
}

template <class T>
StoredBytes stored(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  StoredBytes out{dtype, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(out.bytes.data(), values.data(), out.bytes.size());
  return out;
}

enum class Scales { kRowF32, kRowBf16, kOne };

struct Quantised {
  StoredBytes values, scales, widened;
};

Quantised quantise(const StoredBytes& tensor, Scales kind) {
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  const auto at = [cols](int64_t r, int64_t k) { return static_cast<size_t>(r * cols + k); };
  std::vector<float> scales;
  for (int64_t r = 0; r < rows; ++r) {
    float largest = 1e-6f;
    for (int64_t k = 0; k < cols; ++k) largest = std::max(largest, std::abs(element(tensor, at(r, k))));
    scales.push_back(largest / kF8E4M3Max);
    if (kind == Scales::kRowBf16) scales.back() = bf16_to_f32(f32_to_bf16(scales.back()));
  }
  if (kind == Scales::kOne) std::fill(scales.begin(), scales.end(), *std::max_element(scales.begin(), scales.end()));
  std::vector<uint8_t> values;
  std::vector<uint16_t> widened, half;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < cols; ++k) {
      values.push_back(f32_to_f8e4m3(element(tensor, at(r, k)) / scales[static_cast<size_t>(r)]));
      widened.push_back(f32_to_bf16(f8e4m3_to_f32(values.back()) * scales[static_cast<size_t>(r)]));
    }
  }
  for (const float scale : scales) half.push_back(f32_to_bf16(scale));
  Quantised out{stored(DType::kF8E4M3, tensor.shape, values), {}, stored(DType::kBF16, tensor.shape, widened)};
  if (kind == Scales::kRowF32) out.scales = stored(DType::kF32, {rows, 1}, scales);
  if (kind == Scales::kRowBf16) out.scales = stored(DType::kBF16, {rows, 1}, half);
  if (kind == Scales::kOne) out.scales = stored(DType::kF32, {1}, std::vector<float>{scales[0]});
  return out;
}

bool is_linear(const std::string& name) {
  return name.ends_with("proj.weight") || name.ends_with("proj_with_mqa.weight");
}

class Fp8Checkpoint : public testing::TestWithParam<std::string> {};

TEST_P(Fp8Checkpoint, computes_with_value_times_scale) {
  for (const Scales kind : {Scales::kRowF32, Scales::kRowBf16, Scales::kOne}) {
    CheckpointEditor fp8(GetParam()), wide(GetParam());
    int num_linear = 0;
    for (const auto& [name, tensor] : CheckpointEditor(GetParam()).tensors) {
      if (!is_linear(name) || tensor.shape.size() != 2 || name.find("visual") != std::string::npos) continue;
      Quantised made = quantise(tensor, kind);
      fp8.tensors[name] = made.values;
      fp8.tensors[name + "_scale"] = made.scales;
      wide.tensors[name] = made.widened;
      ++num_linear;
    }
    fp8.config["quantization_config"] = fp8_config();
    EXPECT_GT(num_linear, 5);
    EXPECT_EQ(logits_of(fp8.save()), logits_of(wide.save()));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Fp8Checkpoint,
                         testing::Values("glm4_bf16", "glm4_moe_bf16", "glm4_moe_lite_bf16", "glm4v_moe_bf16"),
                         [](const auto& info) { return info.param; });

std::string error_of(CheckpointEditor& checkpoint, ErrorCode code) {
  const Result<ModelPlan> plan = plan_model(checkpoint.save());
  EXPECT_FALSE(plan);
  if (plan) return "";
  EXPECT_EQ(plan.error().code, code) << plan.error().message;
  return plan.error().message;
}

TEST(Fp8CheckpointErrors, name_the_scale_that_is_missing_or_wrong) {
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  CheckpointEditor checkpoint("glm4_bf16");
  checkpoint.config["quantization_config"] = fp8_config();
  const Quantised made = quantise(checkpoint.tensors[name], Scales::kRowF32);
  checkpoint.tensors[name] = made.values;
  EXPECT_THAT(error_of(checkpoint, ErrorCode::kCorrupt), HasSubstr(name + ": f8e4m3 without " + name + "_scale"));
  checkpoint.tensors[name + "_scale"] = stored(DType::kF32, {3, 1}, std::vector<float>{1, 1, 1});
  EXPECT_THAT(error_of(checkpoint, ErrorCode::kCorrupt),
              AllOf(HasSubstr(name + "_scale: expected"), HasSubstr("has f32 [3, 1]")));
  StoredBytes broken = made.scales;
  const float minus = -1;
  std::memcpy(broken.bytes.data(), &minus, sizeof minus);
  checkpoint.tensors[name + "_scale"] = broken;
  const auto loaded = ModelDriver::load(checkpoint.save());
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("row 0 is -1, scales are positive numbers"));
}

TEST(Fp8CheckpointErrors, a_norm_in_fp8_is_none) {
  CheckpointEditor checkpoint("glm4_bf16");
  const std::string name = "model.norm.weight";
  const int64_t size = checkpoint.tensors[name].shape[0];
  checkpoint.tensors[name] = stored(DType::kF8E4M3, {size}, std::vector<uint8_t>(static_cast<size_t>(size), 8));
  EXPECT_THAT(error_of(checkpoint, ErrorCode::kCorrupt), HasSubstr("model.norm.weight: expected f32, f16 or bf16"));
}

struct Refused {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;
};

class RefusedFormat : public testing::TestWithParam<Refused> {};

TEST_P(RefusedFormat, is_named) {
  CheckpointEditor checkpoint("glm4_bf16");
  checkpoint.config["quantization_config"] = fp8_config();
  GetParam().change(checkpoint.config["quantization_config"]);
  EXPECT_THAT(error_of(checkpoint, ErrorCode::kUnimplemented),
              AllOf(HasSubstr(GetParam().message), HasSubstr("bf16 checkpoint")));
}

Json& group(Json& config) { return config["config_groups"]["group_0"]; }

INSTANTIATE_TEST_SUITE_P(
    Formats, RefusedFormat,
    testing::Values(Refused{"awq", [](Json& c) { c = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}}; },
                            "the weights are int4 in groups of 128 (quant_method awq)"},
                    Refused{"gptq", [](Json& c) { c = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}}; },
                            "int4 in groups of 128 (quant_method gptq)"},
                    Refused{"fp8_blocks",
                            [](Json& c) { c = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}; },
                            "FP8 in blocks of 128 x 128 (quant_method fp8)"},
                    Refused{"compressed_blocks",
                            [](Json& c) {
                              group(c)["weights"]["strategy"] = "block";
                              group(c)["weights"]["block_structure"] = {128, 128};
                            },
                            "FP8 in blocks of 128 x 128 (compressed-tensors"},
                    Refused{"int4_packed",
                            [](Json& c) {
                              c["format"] = "pack-quantized";
                              group(c)["weights"] = {
                                  {"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 128}};
                            },
                            "int4 in groups of 128 (compressed-tensors, pack-quantized)"},
                    Refused{"nvfp4",
                            [](Json& c) {
                              c["format"] = "nvfp4-pack-quantized";
                              group(c)["weights"] = {
                                  {"num_bits", 4}, {"type", "float"}, {"strategy", "tensor_group"}, {"group_size", 16}};
                            },
                            "float4 in groups of 16 (compressed-tensors, nvfp4-pack-quantized)"},
                    Refused{"static_activations", [](Json& c) { group(c)["input_activations"]["dynamic"] = false; },
                            "scales of activations that are fixed"},
                    Refused{"kv_scales", [](Json& c) { c["kv_cache_scheme"] = {{"num_bits", 8}}; }, "kv_cache_scheme"},
                    Refused{"unknown", [](Json& c) { c = {{"quant_method", "bitsandbytes"}}; },
                            "quantised by quant_method \"bitsandbytes\""}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gale::golden
