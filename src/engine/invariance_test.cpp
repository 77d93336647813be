// The same tokens alone, batched, chunked, preempted, after a prefix hit and resumed after a cut at every position;
// with a model that hashes what it reads through the block tables, and with the built-in model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "backends/cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/engine_loop.h"
#include "models/model.h"

namespace gale {
namespace {

constexpr int kFakeVocabulary = 97;

// Keeps token and position of each place in the cache, and makes of all it reads there one number a query token.
class HashingModel final : public Model {
 public:
  explicit HashingModel(TokenId poison = -1) : poison_(poison) {
    info_ = {.architecture = "hashing", .vocab_size = kFakeVocabulary, .hidden_size = 1, .num_layers = 1,
             .max_position_embeddings = 256, .checkpoint_dtype = DType::kF32};
  }
  [[nodiscard]] const ModelInfo& info() const override { return info_; }
  [[nodiscard]] KvLayout kv_layout() const override {
    return {{KvLayerSpec{.kind = KvKind::kMla, .latent_dim = 1, .rope_dim = 1}}};
  }
  [[nodiscard]] size_t workspace_bytes(int max_tokens, int max_rows) const override {
    return Arena::padded(static_cast<size_t>(max_tokens) * sizeof(float)) +
           Arena::padded(static_cast<size_t>(max_rows) * sizeof(float));
  }

  [[nodiscard]] Tensor forward(ForwardContext& context) const override {
    const AttentionMetadata& batch = context.attention;
    const Tensor hidden = context.workspace.allocate(DType::kF32, {batch.num_tokens, 1});
    auto* cache = context.kv.layers[0].k.as<float>();
    for (int t = 0; t < batch.num_tokens; ++t) {
      const int64_t slot = batch.slot_mapping.as<int64_t>()[t];
      cache[2 * slot] = static_cast<float>(context.token_ids.as<int32_t>()[t]);
      cache[2 * slot + 1] = static_cast<float>(batch.positions.row<int32_t>(2)[t]);
    }
    for (int s = 0; s < batch.num_seqs; ++s) attend(batch, s, cache, hidden.as<float>());
    if (!context.wanted) return hidden;
    const Tensor& rows = context.wanted->rows;
    const int64_t num_wanted = rows.shape[0];
    const Tensor chosen = context.workspace.allocate(DType::kF32, {num_wanted, 1});
    for (int64_t r = 0; r < num_wanted; ++r) chosen.as<float>()[r] = hidden.as<float>()[rows.as<int32_t>()[r]];
    return chosen;
  }

  void logits(ForwardContext&, const Tensor& hidden, const Tensor& rows, const Tensor& out) const override {
    for (int64_t r = 0; r < out.shape[0]; ++r) {
      const float state = hidden.as<float>()[rows.is_empty() ? r : rows.as<int32_t>()[r]];
      for (int v = 0; v < kFakeVocabulary; ++v) {
        uint64_t bits = static_cast<uint64_t>(state) * 2654435761U + static_cast<uint64_t>(v) * 40503U;
        bits = (bits ^ (bits >> 15)) * 2246822519U;
        out.row<float>(r)[v] = state < 0 ? NAN : static_cast<float>((bits >> 13) % 1000) / 200.0F;
      }
    }
  }

 private:
  void attend(const AttentionMetadata& batch, int s, const float* cache, float* hidden) const {
    const int* starts = batch.query_start_loc.as<int32_t>();
    const int first = batch.seq_lens.as<int32_t>()[s] - (starts[s + 1] - starts[s]);
    uint64_t state = 17;
    bool is_poisoned = false;
    for (int position = 0; position < batch.seq_lens.as<int32_t>()[s]; ++position) {
      const int64_t block = batch.block_tables.row<int32_t>(s)[position / batch.block_size];
      const float* place = cache + 2 * (block * batch.block_size + position % batch.block_size);
      is_poisoned |= static_cast<TokenId>(place[0]) == poison_;
      state = (state * 31 + static_cast<uint64_t>(place[0]) * 7 + static_cast<uint64_t>(place[1])) % 1'000'003;
      if (position >= first) hidden[starts[s] + position - first] = is_poisoned ? -1.0F : static_cast<float>(state);
    }
  }
  TokenId poison_;
  ModelInfo info_;
};

struct Outcome {
  std::vector<std::vector<float>> pooled;
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::vector<TokenLogprobs>> logprobs;
  std::vector<int> cached;
  uint64_t num_preemptions = 0;
};

// Runs all to their ends under a scheduler of the given limits; the executor's memory must cover them.
Outcome run(Executor& executor, Scheduler& scheduler, const std::vector<Submit>& submits) {
  Outcome outcome;
  outcome.tokens.resize(submits.size());
  outcome.logprobs.resize(submits.size());
  outcome.cached.resize(submits.size());
  outcome.pooled.resize(submits.size());
  for (const Submit& submit : submits) EXPECT_FALSE(scheduler.add(submit));
  while (scheduler.has_work()) {
    auto outputs = run_step(scheduler, executor);
    EXPECT_TRUE(outputs) << outputs.error().message;
    EXPECT_EQ(scheduler.check_integrity().problem, "");
    for (const SequenceOutput& output : *outputs) {
      EXPECT_FALSE(output.error) << output.error->message;
      const size_t index = output.id.value - 1;
      outcome.tokens[index].insert(outcome.tokens[index].end(), output.tokens.begin(), output.tokens.end());
      outcome.logprobs[index].insert(outcome.logprobs[index].end(), output.logprobs.begin(), output.logprobs.end());
      if (!output.pooled.empty()) outcome.pooled[index] = output.pooled;
      if (output.num_cached_tokens) outcome.cached[index] = *output.num_cached_tokens;
    }
  }
  outcome.num_preemptions = scheduler.stats().num_preemptions;
  return outcome;
}

class Invariance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = make_cpu_device(2);
    EngineConfig config;
    config.scheduler.max_model_len = 256;
    config.scheduler.max_num_batched_tokens = 512;
    config.scheduler.max_num_seqs = 16;
    config.scheduler.num_blocks = 256;
    config.scheduler.layered_context = 8;
    if (GetParam() == "hashing") {
      take(make_executor_for(std::make_unique<HashingModel>(), config, *device_, cpu_op_table()));
    } else {
      config.model_dir = std::string(GALE_SOURCE_DIR) + "/models/nano-flash";
      take(make_model_executor(config, *device_, cpu_op_table()));
    }
    limits_ = executor_->info().scheduler;
    limits_.enable_prefix_caching = false;
    submits_ = make_submits();
    for (const Submit& submit : submits_) {
      Submit alone = submit;
      alone.id = {1};
      expected_.push_back(run_once(limits_, {alone}).tokens[0]);
      ASSERT_EQ(expected_.back().size(), static_cast<size_t>(submit.stop.max_tokens));
    }
  }

  void take(Result<std::unique_ptr<Executor>> executor) {
    ASSERT_TRUE(executor) << executor.error().message;
    executor_ = std::move(*executor);
  }
  Outcome run_once(const SchedulerConfig& limits, const std::vector<Submit>& submits) {
    Scheduler scheduler(limits);
    return run(*executor_, scheduler, submits);
  }

  // Greedy, seeded and penalised ones of unlike lengths.
  static std::vector<Submit> make_submits() {
    std::vector<Submit> submits(6);
    for (size_t i = 0; i < submits.size(); ++i) {
      submits[i].id = {i + 1};
      for (size_t t = 0; t < 5 + 13 * i; ++t)
        submits[i].prompt.push_back(static_cast<TokenId>((t * 7 + i * 11 + t * t) % 90));
      submits[i].stop.max_tokens = 20 + static_cast<int>(i);
      SamplingParams& sampling = submits[i].sampling;
      sampling.temperature = i % 2 == 0 ? 0.0F : 0.9F;
      sampling.seed = 1000 + i;
      if (i == 3) sampling.top_k = 20, sampling.repetition_penalty = 1.3F;
      if (i == 4) sampling.presence_penalty = 0.7F, sampling.frequency_penalty = 0.2F;
      if (i == 5) sampling.top_p = 0.8F, sampling.min_p = 0.01F;
    }
    return submits;
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Executor> executor_;
  SchedulerConfig limits_;
  std::vector<Submit> submits_;
  std::vector<std::vector<TokenId>> expected_;   // each alone, in one prefill
};

TEST_P(Invariance, batched) { EXPECT_EQ(run_once(limits_, submits_).tokens, expected_); }

TEST_P(Invariance, chunked) {
  for (const int budget : {1, 7, 33}) {
    limits_.max_num_batched_tokens = budget;
    EXPECT_EQ(run_once(limits_, submits_).tokens, expected_) << budget;
  }
}

// Counts slices of layers by the first of them.
class SliceCounter final : public Executor {
 public:
  explicit SliceCounter(Executor& executor) : executor_(executor) {}
  [[nodiscard]] const Info& info() const override { return executor_.info(); }
  [[nodiscard]] Result<std::vector<SequenceResult>> execute(const Plan& plan, const Scheduler& scheduler) override {
    if (const ScheduledSequence* piece = plan.layered()) ++counts[piece->layers->first];
    return executor_.execute(plan, scheduler);
  }
  std::map<int, int> counts;

 private:
  Executor& executor_;
};

TEST_P(Invariance, prompts_a_few_layers_a_step) {
  limits_.max_num_batched_tokens = 48;
  for (const int64_t token_layers : {1, 40, 100, 10'000}) {
    Scheduler scheduler(limits_);
    scheduler.limit_mixed_prefill(9);
    scheduler.limit_layered_prefill(token_layers);
    SliceCounter counter(*executor_);
    EXPECT_EQ(run(counter, scheduler, submits_).tokens, expected_) << token_layers;
    if (GetParam() != "nano_flash") continue;   // of one layer
    EXPECT_GE(counter.counts[0], 3) << "two or three prompts go by layers";
    const auto [layer, least] = token_layers == 1    ? std::pair(3, 3)
                                : token_layers == 40 ? std::pair(2, 2)
                                                     : std::pair(0, 3);
    EXPECT_GE(counter.counts[layer], least) << "layer by layer, two by two, or more";
  }
}

TEST_P(Invariance, preempted) {
  limits_.num_blocks = 16;
  const Outcome outcome = run_once(limits_, submits_);
  EXPECT_GT(outcome.num_preemptions, 0U);
  EXPECT_EQ(outcome.tokens, expected_);
}

TEST_P(Invariance, after_a_prefix_hit) {
  limits_.enable_prefix_caching = true;
  Scheduler scheduler(limits_);
  EXPECT_EQ(run(*executor_, scheduler, submits_).tokens, expected_);
  const Outcome again = run(*executor_, scheduler, submits_);
  EXPECT_EQ(again.tokens, expected_);
  EXPECT_EQ(again.cached, (std::vector<int>{0, 16, 16, 32, 48, 64})) << "full blocks of 16, the last token excepted";
}

TEST_P(Invariance, resumed_after_a_cut_at_every_position) {
  for (size_t cut = 1; cut < 20; ++cut) {
    std::vector<Submit> resumed = submits_;
    for (size_t i = 0; i < resumed.size(); ++i) {
      resumed[i].output.assign(expected_[i].begin(), expected_[i].begin() + static_cast<std::ptrdiff_t>(cut));
    }
    Outcome outcome = run_once(limits_, resumed);
    for (size_t i = 0; i < resumed.size(); ++i) {
      outcome.tokens[i].insert(outcome.tokens[i].begin(), resumed[i].output.begin(), resumed[i].output.end());
    }
    ASSERT_EQ(outcome.tokens, expected_) << "cut after " << cut;
  }
}

TEST_P(Invariance, logprobs_change_nothing_and_agree_with_those_of_the_prompt) {
  std::vector<Submit> asking = submits_;
  for (Submit& submit : asking) submit.sampling.num_logprobs = 3;
  const Outcome outcome = run_once(limits_, asking);
  EXPECT_EQ(outcome.tokens, expected_);
  // The output of a sequence as the end of another's prompt: the same distribution, told the other way.
  Submit echo = asking[2];
  echo.id = {1};
  echo.prompt.insert(echo.prompt.end(), expected_[2].begin(), expected_[2].end());
  echo.sampling.num_prompt_logprobs = 3;
  limits_.max_num_batched_tokens = 9;
  Scheduler scheduler(limits_);
  EXPECT_FALSE(scheduler.add(echo));
  std::vector<TokenLogprobs> prompt;
  while (scheduler.has_work()) {
    const auto outputs = run_step(scheduler, *executor_);
    ASSERT_TRUE(outputs);
    for (const SequenceOutput& output : *outputs) {
      prompt.insert(prompt.end(), output.prompt_logprobs.begin(), output.prompt_logprobs.end());
    }
  }
  ASSERT_EQ(prompt.size(), echo.prompt.size() - 1);
  const std::vector<TokenLogprobs> tail(prompt.end() - static_cast<std::ptrdiff_t>(expected_[2].size()), prompt.end());
  EXPECT_EQ(tail, outcome.logprobs[2]);
  EXPECT_EQ(tail[0].top.size(), 3U);
}

// The prompts of all, pooled; the last alone gets text, so that steps mix both.
std::vector<Submit> pooled_ones(std::vector<Submit> submits, Pooling pooling) {
  for (Submit& submit : submits) submit.pooling = pooling;
  submits.back().pooling = Pooling::kNone;
  return submits;
}

TEST_P(Invariance, pooled_vectors_are_the_same_bits_batched_chunked_preempted_and_after_a_prefix_hit) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    std::vector<std::vector<float>> alone(submits_.size());
    const std::vector<Submit> submits = pooled_ones(submits_, pooling);
    for (size_t i = 0; i + 1 < submits.size(); ++i) {
      Submit one = submits[i];
      one.id = {1};
      Outcome outcome = run_once(limits_, {one});
      EXPECT_TRUE(outcome.tokens[0].empty()) << "a pooled sequence draws nothing";
      alone[i] = std::move(outcome.pooled[0]);
      ASSERT_EQ(alone[i].size(), static_cast<size_t>(executor_->info().hidden_size));
    }
    EXPECT_NE(alone[1], alone[2]);
    const auto expect_all = [&](const Outcome& outcome, const char* how) {
      EXPECT_EQ(outcome.pooled, alone) << how;
      EXPECT_EQ(outcome.tokens.back(), expected_.back()) << how;
    };
    SchedulerConfig limits = limits_;
    expect_all(run_once(limits, submits), "batched");
    for (const int budget : {1, 7, 33}) {
      limits.max_num_batched_tokens = budget;
      expect_all(run_once(limits, submits), "chunked");
    }
    limits = limits_;
    limits.num_blocks = 8;
    limits.max_num_batched_tokens = 40;
    expect_all(run_once(limits, submits), "with few blocks");
    limits = limits_;
    limits.enable_prefix_caching = true;
    Scheduler scheduler(limits);
    expect_all(run(*executor_, scheduler, submits), "before a prefix hit");
    const Outcome again = run(*executor_, scheduler, submits);
    expect_all(again, "after a prefix hit");
    EXPECT_EQ(again.cached[4], pooling == Pooling::kLast ? 48 : 0) << "a mean needs every row";
  }
}

std::string name_of_case(const testing::TestParamInfo<std::string>& info) { return info.param; }
TEST_P(Invariance, a_step_on_the_cpu_tells_that_it_goes_on) {
  int num_told = 0;
  executor_->on_progress([&num_told] { ++num_told; });
  run_once(limits_, {submits_[0]});
  EXPECT_GT(num_told, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Invariance, testing::Values("hashing", "nano_flash"), name_of_case);

TEST(ModelExecutor, a_row_that_is_not_a_number_fails_alone) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  EngineConfig config;
  config.scheduler.num_blocks = 64;
  auto executor = make_executor_for(std::make_unique<HashingModel>(66), config, *device, cpu_op_table());
  ASSERT_TRUE(executor) << executor.error().message;
  std::vector<Submit> submits(3);
  for (size_t i = 0; i < 3; ++i) {
    submits[i].id = {i + 1};
    submits[i].prompt = {1, 2, i == 1 ? 66 : 3};
    submits[i].sampling.allowed_token_ids = {4, 5, 6};
    submits[i].stop.max_tokens = 4;
  }
  const auto outputs = generate_offline(**executor, submits);
  ASSERT_TRUE(outputs);
  EXPECT_EQ((*outputs)[1].finish, FinishReason::kError);
  ASSERT_TRUE((*outputs)[1].error);
  EXPECT_EQ((*outputs)[1].error->code, ErrorCode::kInternal);
  for (const size_t healthy : {0, 2}) {
    EXPECT_EQ((*outputs)[healthy].finish, FinishReason::kLength);
    ASSERT_EQ((*outputs)[healthy].tokens.size(), 4U);
    for (const TokenId token : (*outputs)[healthy].tokens) EXPECT_TRUE(token >= 4 && token <= 6) << token;
  }
}

TEST(ModelExecutor, a_stop_id_is_not_drawn_below_min_tokens) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  EngineConfig config;
  config.scheduler.num_blocks = 64;
  auto executor = make_executor_for(std::make_unique<HashingModel>(), config, *device, cpu_op_table());
  ASSERT_TRUE(executor) << executor.error().message;
  Submit submit{.id = {1}, .prompt = {1, 2, 3}};
  submit.sampling.temperature = 0;
  submit.sampling.logit_bias = {{9, 100.0F}};
  submit.stop = {.stop_token_ids = {9}, .min_tokens = 5, .max_tokens = 20};
  const auto outputs = generate_offline(**executor, {submit});
  ASSERT_TRUE(outputs);
  const SequenceOutput& output = outputs->front();
  EXPECT_EQ(output.finish, FinishReason::kStop);
  EXPECT_EQ(output.stop_token, 9);
  EXPECT_EQ(output.tokens.size(), 6U);
  EXPECT_EQ(std::ranges::find(output.tokens, 9) - output.tokens.begin(), 5);
}

}  // namespace
}  // namespace gale
