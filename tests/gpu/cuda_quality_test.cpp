// What FP8 costs: KL divergence a token of FP8 weights, an FP8 cache and both to bf16 on the card, over answers of the
// built-in model to held-out questions, and bf16 on the card to f32 on the CPU. Goal: at most 0.02 nats a token.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <unordered_map>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "base/json.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr int kNumQuestions = 48;
constexpr int kNumTokens = 64;
constexpr int kTop = 128;
constexpr double kMaxDivergence = 0.02;

struct Mode { const char* name; bool is_cuda; Quantization quantization; KvCacheDType cache; };

EngineConfig config_of(const std::string& model, const Mode& mode) {
  EngineConfig config{.model_dir = model,
                      .quantization = mode.quantization,
                      .kv_cache_memory_bytes = 256 << 20,
                      .kv_cache_dtype = mode.cache};
  config.scheduler.max_model_len = 1024;
  config.scheduler.max_num_seqs = 64;
  return config;
}

// Logprobs of every position behind `begins`, as the mode sees the same texts.
std::vector<SequenceOutput> run(const std::string& model, const Mode& mode, const std::vector<Submit>& submits) {
  auto device = mode.is_cuda ? make_cuda_device(0) : Result<std::unique_ptr<Device>>(make_cpu_device(16));
  CHECK(device, "{}", device.error().message);
  auto executor =
      make_model_executor(config_of(model, mode), **device, mode.is_cuda ? cuda_op_table() : cpu_op_table());
  CHECK(executor, "{}", executor.error().message);
  auto outputs = generate_offline(**executor, submits);
  CHECK(outputs, "{}", outputs.error().message);
  return std::move(*outputs);
}

std::vector<std::vector<TokenId>> held_out_prompts(const std::string& model) {
  auto tokenizer = Tokenizer::load(model + "/tokenizer.json");
  CHECK(tokenizer, "{}", tokenizer.error().message);
  std::ifstream file("models/train/eval/gale.jsonl");
  std::vector<std::vector<TokenId>> prompts;
  for (std::string line; std::getline(file, line) && prompts.size() < kNumQuestions;) {
    const auto json = parse_json(line);
    CHECK(json, "{}", json.error().message);
    const std::string question = (*json)["messages"][0]["content"].get<std::string>();
    prompts.push_back(
        (*tokenizer)->encode("[gMASK]<sop><|user|>" + question + "<|assistant|><think>", AddedTokens::kMatch));
  }
  CHECK(prompts.size() == kNumQuestions, "{} questions", prompts.size());
  return prompts;
}

// Sum over the tokens that `p` lists, and over all others as one.
double divergence(const TokenLogprobs& p, const TokenLogprobs& q) {
  std::unordered_map<TokenId, double> other;
  double least = 0;
  for (const TokenLogprob& entry : q.top)
    other[entry.token] = entry.logprob, least = std::min(least, static_cast<double>(entry.logprob));
  double sum = 0, rest_p = 1, rest_q = 1;
  for (const TokenLogprob& entry : p.top) {
    const double logp = entry.logprob, prob = std::exp(logp);
    const auto found = other.find(entry.token);
    // not among its best: at most as likely as the last of them
    const double logq = found == other.end() ? least : found->second;
    sum += prob * (logp - logq);
    rest_p -= prob, rest_q -= std::exp(logq);
  }
  if (rest_p > 1e-9) sum += rest_p * std::log(rest_p / std::max(rest_q, 1e-12));
  return std::max(0.0, sum);
}

class CudaQuality : public testing::TestWithParam<std::string> {};

TEST_P(CudaQuality, fp8_stays_near_bf16) {
  const std::string model = GetParam();
  const Mode bf16{"bf16", true, Quantization::kNone, KvCacheDType::kBF16};
  const std::vector<std::vector<TokenId>> prompts = held_out_prompts(model);
  std::vector<Submit> questions;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Submit submit{.id = {i + 1}, .prompt = prompts[i]};
    submit.sampling.temperature = 0;
    submit.stop.max_tokens = kNumTokens;
    questions.push_back(submit);
  }
  const std::vector<SequenceOutput> answers = run(model, bf16, questions);
  std::vector<Submit> texts = questions;
  for (size_t i = 0; i < texts.size(); ++i) {
    texts[i].prompt.insert(texts[i].prompt.end(), answers[i].tokens.begin(), answers[i].tokens.end());
    texts[i].sampling.num_prompt_logprobs = kTop;
    texts[i].stop.max_tokens = 1;
  }
  const std::vector<SequenceOutput> expected = run(model, bf16, texts);
  for (const Mode& mode : {Mode{"CPU f32", false, Quantization::kNone, KvCacheDType::kF32},
                           Mode{"fp8 weights", true, Quantization::kFp8, KvCacheDType::kBF16},
                           Mode{"fp8 cache", true, Quantization::kNone, KvCacheDType::kF8E4M3},
                           Mode{"fp8 weights and cache", true, Quantization::kFp8, KvCacheDType::kF8E4M3}}) {
    const std::vector<SequenceOutput> actual = run(model, mode, texts);
    double sum = 0, worst = 0;
    size_t count = 0, num_same_best = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(expected[i].prompt_logprobs.size(), actual[i].prompt_logprobs.size());
      for (size_t t = prompts[i].size() - 1; t < expected[i].prompt_logprobs.size(); ++t, ++count) {
        const double kl = divergence(expected[i].prompt_logprobs[t], actual[i].prompt_logprobs[t]);
        sum += kl, worst = std::max(worst, kl);
        num_same_best += expected[i].prompt_logprobs[t].top[0].token == actual[i].prompt_logprobs[t].top[0].token;
      }
    }
    std::printf("%s, %-22s KL to bf16 %.5f nats a token (worst %.3f), same best token %zu of %zu\n", model.c_str(),
                mode.name, sum / static_cast<double>(count), worst, num_same_best, count);
    EXPECT_LE(sum / static_cast<double>(count), kMaxDivergence) << mode.name;
  }
}

INSTANTIATE_TEST_SUITE_P(BuiltIn, CudaQuality, testing::Values("models/nano-flash", "models/nano-glm4"));

}  // namespace
}  // namespace gale
