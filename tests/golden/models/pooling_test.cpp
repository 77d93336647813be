// Pooled hidden states against transformers. The goldens hold its logits, which are head * hidden; the head has more
// rows than columns, so that its product with a pooled vector decides the vector.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/cpu/cpu_backend.h"
#include "checkpoint_editor.h"
#include "engine/engine.h"
#include "tensor/convert.h"
#include "weights/safetensors.h"

namespace gale::golden {
namespace {

constexpr float kTolerance = 2e-3F;  // of the largest |logit|, as for the logits of golden_models_test
constexpr int kNumPrompts = 3;

struct Matrix {
  std::vector<float> values;
  int64_t num_rows = 0, num_columns = 0;
  [[nodiscard]] float at(int64_t row, int64_t column) const {
    return values[static_cast<size_t>(row * num_columns + column)];
  }
};

// The tensors of a file that are asked for, as fp32.
class Tensors {
 public:
  Tensors(const std::string& case_name, const std::string& file)
      : file_(SafetensorsFile::open(data_folder(case_name), file).value()) {}

  [[nodiscard]] Matrix matrix(const std::string& name) const {
    const Tensor& tensor = find(name);
    Matrix out{.num_rows = tensor.shape[0], .num_columns = tensor.shape[1]};
    for (int64_t i = 0; i < tensor.num_elements(); ++i) {
      out.values.push_back(tensor.dtype == DType::kF32 ? tensor.as<float>()[i] : bf16_to_f32(tensor.as<uint16_t>()[i]));
    }
    return out;
  }
  [[nodiscard]] std::vector<TokenId> ids(const std::string& name) const {
    const Tensor& tensor = find(name);
    return {tensor.as<int32_t>(), tensor.as<int32_t>() + tensor.num_elements()};
  }

 private:
  [[nodiscard]] const Tensor& find(const std::string& name) const {
    for (const StoredTensor& tensor : file_.tensors()) {
      if (tensor.name == name) return tensor.data;
    }
    CHECK(false, "no tensor {}", name);
  }
  SafetensorsFile file_;
};

class Pooled : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = make_cpu_device(2);
    EngineConfig config;
    config.model_dir = data_folder(GetParam());
    config.kv_cache_dtype = KvCacheDType::kF32;      // the reference keeps keys and values in fp32
    config.scheduler.max_model_len = 256;
    config.scheduler.num_blocks = 64;
    config.scheduler.max_num_batched_tokens = 24;  // every prompt comes in pieces
    Result<std::unique_ptr<Executor>> executor = make_model_executor(config, *device_, cpu_op_table());
    ASSERT_TRUE(executor) << executor.error().message;
    executor_ = std::move(*executor);
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Executor> executor_;
};

TEST_P(Pooled, vectors_are_the_references_hidden_states) {
  const Tensors golden(GetParam(), "golden.safetensors");
  const Matrix head = Tensors(GetParam(), "model.safetensors").matrix("lm_head.weight");
  for (int i = 0; i < kNumPrompts; ++i) {
    std::vector<TokenId> tokens = golden.ids("prompt." + std::to_string(i));
    const std::vector<TokenId> reply = golden.ids("tokens." + std::to_string(i));
    tokens.insert(tokens.end(), reply.begin(), reply.end());
    const Matrix logits = golden.matrix("logits." + std::to_string(i));
    ASSERT_EQ(logits.num_rows, std::ssize(tokens));
    const float largest = std::abs(*std::ranges::max_element(logits.values, {}, [](float v) { return std::abs(v); }));
    for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
      Submit submit{.id = {1}, .prompt = tokens};
      submit.pooling = pooling;
      const auto outputs = generate_offline(*executor_, {submit});
      ASSERT_TRUE(outputs);
      const std::vector<float>& vector = outputs->front().pooled;
      ASSERT_EQ(std::ssize(vector), head.num_columns);
      for (int64_t v = 0; v < head.num_rows; ++v) {
        double told = 0, expected = 0;
        for (int64_t h = 0; h < head.num_columns; ++h)
          told += double{head.at(v, h)} * double{vector[static_cast<size_t>(h)]};
        const int64_t first = pooling == Pooling::kMean ? 0 : logits.num_rows - 1;
        for (int64_t row = first; row < logits.num_rows; ++row) expected += double{logits.at(row, v)};
        expected /= static_cast<double>(logits.num_rows - first);
        ASSERT_NEAR(told, expected, kTolerance * largest) << "prompt " << i << ", logit " << v;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Pooled,
                         testing::Values("glm4_f32", "glm4_moe_f32", "glm4_moe_lite_f32", "glm4_bf16", "glm4_moe_bf16",
                                         "glm4_moe_lite_bf16"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace gale::golden
