#include "channel/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace gale {
namespace {

// Random messages in which every field takes empty, small and extreme values.
class MessageMaker {
 public:
  explicit MessageMaker(uint32_t seed) : random_(seed) {}

  ToEngine to_engine() {
    switch (below(5)) {
      case 0: return Cancel{{random_()}};
      case 2: return Vocabulary{.tokens = {text(), "", text()}, .control_tokens = tokens(), .stop_token_ids = tokens()};
      case 1:
        return Control{
            pick({ControlCommand::kDrain, ControlCommand::kResetPrefixCache, ControlCommand::kCheckIntegrity})};
      default: return submit();
    }
  }

  ToFront to_front() {
    switch (below(5)) {
      case 0: return ready();
      case 1: return stats();
      case 2: return Fault{error()};
      default: {
        StepOutput step{.step = random_()};
        for (size_t i = below(5); i > 0; --i) step.sequences.push_back(sequence());
        return step;
      }
    }
  }

 private:
  uint64_t below(uint64_t bound) { return random_() % bound; }
  bool coin() { return below(2) == 0; }
  template <class T>
  T pick(std::initializer_list<T> values) { return values.begin()[below(values.size())]; }
  int count() { return pick({0, 1, 77, std::numeric_limits<int>::max()}); }
  int64_t big_count() { return pick<int64_t>({0, 1, int64_t{1} << 40, std::numeric_limits<int64_t>::max()}); }
  float number() { return pick({0.0F, -2.0F, 1e-30F, 0.7F, 3.4e38F}); }
  std::string text() {
    std::string out;
    for (size_t i = below(20); i > 0; --i) out.push_back(static_cast<char>(below(256)));
    return out;
  }
  TokenId token() { return pick<TokenId>({0, 1, 151'000, std::numeric_limits<TokenId>::max()}); }
  std::vector<TokenId> tokens(size_t at_least = 0) {
    std::vector<TokenId> out;
    for (size_t i = at_least + below(6); i > 0; --i) out.push_back(token());
    return out;
  }

  Submit submit() {
    Submit out;
    out.id = {random_()};
    out.prompt = tokens(1);
    out.output = tokens();
    out.sampling = {.temperature = number(),
                    .top_p = number(),
                    .min_p = number(),
                    .top_k = pick({-1, 0, 50}),
                    .repetition_penalty = number(),
                    .frequency_penalty = number(),
                    .presence_penalty = number(),
                    .seed = random_(),
                    .logit_bias = {},
                    .allowed_token_ids = tokens(),
                    .bad_words = {},
                    .num_logprobs = pick({-1, 0, 20}),
                    .num_prompt_logprobs = pick({-1, 0, 20})};
    for (size_t i = below(3); i > 0; --i) out.sampling.bad_words.push_back(tokens(1));
    for (size_t i = below(3); i > 0; --i) out.sampling.logit_bias.emplace_back(token(), number());
    out.stop = {.stop_token_ids = tokens(), .min_tokens = count(), .max_tokens = pick({1, 16, 1 << 20})};
    out.cache_salt = text();
    for (size_t i = below(3); i > 0; --i) out.extra_hash_keys.push_back(text());
    out.priority = pick({std::numeric_limits<int>::min(), -1, 0, 5});
    out.deadline_ms = big_count();
    out.grammar = text();
    out.pooling = pick({Pooling::kNone, Pooling::kLast, Pooling::kMean});
    if (coin())
      out.thinking = {.open = pick<TokenId>({kNoToken, 0, 151'000}),
                      .close = pick<TokenId>({kNoToken, 5}),
                      .budget = pick({-1, 0, 9})};
    return out;
  }
  Error error() {
    return {pick({ErrorCode::kInvalidArgument, ErrorCode::kCorrupt, ErrorCode::kOutOfMemory, ErrorCode::kInternal}),
            text(), text()};
  }
  TokenLogprob logprob() { return {token(), pick({0.0F, -1.5F, -std::numeric_limits<float>::infinity()}), count()}; }
  std::vector<TokenLogprobs> logprobs() {
    std::vector<TokenLogprobs> out;
    for (size_t i = below(3); i > 0; --i) {
      out.push_back({logprob(), {}});
      for (size_t j = below(3); j > 0; --j) out.back().top.push_back(logprob());
    }
    return out;
  }
  SequenceOutput sequence() {
    SequenceOutput out{.id = {random_()}, .tokens = tokens(), .logprobs = logprobs(), .prompt_logprobs = logprobs()};
    if (coin())
      out.finish = pick({FinishReason::kStop, FinishReason::kLength, FinishReason::kCancelled, FinishReason::kError});
    if (coin()) out.stop_token = token();
    if (coin()) out.error = error();
    if (coin()) out.num_cached_tokens = count();
    for (size_t i = below(4); i > 0; --i) out.pooled.push_back(number());
    out.time = {.waiting_us = big_count(), .running_us = big_count()};
    return out;
  }
  Ready ready() {
    return {.model_name = text(),
            .max_model_len = 1 + count() / 2,
            .vocab_size = 1 + count() / 2,
            .block_size = count(),
            .num_blocks = big_count(),
            .max_num_seqs = 1 + count() / 2,
            .load_seconds = number(),
            .hidden_size = count(),
            .memory_bytes = big_count()};
  }
  Stats stats() {
    Distribution<kStepTokenBounds> step_tokens{.sum = number()};
    for (uint64_t& bucket : step_tokens.counts) bucket = random_();
    return {random_(), count(), count(), big_count(), big_count(), big_count(), random_(), random_(), random_(),
            random_(), random_(), random_(), random_(), random_(), random_(), step_tokens};
  }

  std::mt19937_64 random_;
};

template <class Message, class Wire>
void expect_same(const Message& sent, const Result<Wire>& received) {
  ASSERT_TRUE(received.has_value()) << received.error().message;
  std::visit(
      [&](const auto& kind) {
        using Kind = std::decay_t<decltype(kind)>;
        const Kind* same = std::get_if<Kind>(&*received);
        ASSERT_NE(same, nullptr);
        EXPECT_EQ(*same, kind);
      },
      sent);
}

TEST(Codec, any_message_arrives_as_it_was_sent) {
  MessageMaker maker(1);
  for (int i = 0; i < 3000; ++i) {
    const ToEngine down = maker.to_engine();
    expect_same(down, decode_to_engine(encode(down)));
    const ToFront up = maker.to_front();
    expect_same(up, decode_to_front(encode(up)));
  }
}

TEST(Codec, hello_carries_version_and_build) {
  const Hello hello{.protocol_version = 7, .build_id = "abc"};
  EXPECT_EQ(std::get<Hello>(*decode_to_engine(encode_hello_to_engine(hello))), hello);
  EXPECT_EQ(std::get<Hello>(*decode_to_front(encode_hello_to_front(hello))), hello);
}

// Cut, flipped and random bytes either decode to something or are refused as corrupt; they never do worse.
TEST(Codec, damaged_messages_are_errors_or_messages) {
  MessageMaker maker(2);
  std::mt19937 random(3);
  int num_refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = i % 2 == 0 ? encode(maker.to_engine()) : encode(maker.to_front());
    if (i % 3 == 0) bytes.resize(random() % (bytes.size() + 1));
    for (int flips = i % 4; flips > 0 && !bytes.empty(); --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto down = decode_to_engine(bytes);
    const auto up = decode_to_front(bytes);
    if (!down) {
      ++num_refused;
      EXPECT_EQ(down.error().code, ErrorCode::kCorrupt);
    }
    if (!up) {
      EXPECT_EQ(up.error().code, ErrorCode::kCorrupt);
    }
  }
  EXPECT_GT(num_refused, 500);
}

TEST(Codec, every_truncation_of_a_submit_is_refused) {
  Submit submit{.id = {5}, .prompt = {1, 2, 3}};
  const std::string whole = encode(submit);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(decode_to_engine(std::string_view(whole).substr(0, length)).has_value()) << length;
  }
}

TEST(Codec, values_no_peer_may_send_are_refused_by_name) {
  const auto complaint_about = [](const Submit& submit) {
    const auto decoded = decode_to_engine(encode(submit));
    return decoded ? std::string() : decoded.error().message;
  };
  const Submit good{.id = {1}, .prompt = {1}};
  EXPECT_EQ(complaint_about(good), "");
  Submit bad = good;
  bad.prompt.clear();
  EXPECT_THAT(complaint_about(bad), testing::HasSubstr("prompt is empty"));
  bad = good;
  bad.output = {-1};
  EXPECT_THAT(complaint_about(bad), testing::HasSubstr("output is negative"));
  bad = good;
  bad.stop.max_tokens = 0;
  EXPECT_THAT(complaint_about(bad), testing::HasSubstr("max_tokens is below 1"));
  bad = good;
  bad.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(complaint_about(bad), testing::HasSubstr("temperature is not finite"));
}

TEST(Codec, a_logprob_may_be_infinite_but_not_no_number) {
  const auto decoded = [](float logprob) {
    StepOutput step;
    step.sequences.push_back({.id = {1}, .tokens = {2}});
    step.sequences[0].logprobs.push_back({.chosen = {.token = 2, .logprob = logprob, .rank = 1}, .top = {}});
    return decode_to_front(encode(step));
  };
  EXPECT_TRUE(decoded(-std::numeric_limits<float>::infinity()));
  EXPECT_THAT(decoded(std::numeric_limits<float>::quiet_NaN()).error().message,
              testing::HasSubstr("logprob is not a number"));
}

TEST(Codec, unknown_enum_values_are_refused) {
  const std::string control_with_command_99 = "\x22\x02\x08\x63";
  EXPECT_EQ(decode_to_engine(control_with_command_99).error().code, ErrorCode::kCorrupt);
}

TEST(Codec, unknown_fields_and_kinds_are_passed_over) {
  const std::string unknown_field = "\xA2\x06\x03" "abc";   // field 100, three bytes
  const auto with_field = decode_to_engine(encode(Cancel{{7}}) + unknown_field);
  EXPECT_EQ(std::get<Cancel>(*with_field), Cancel{{7}});
  EXPECT_TRUE(std::holds_alternative<UnknownMessage>(*decode_to_front(unknown_field)));
}

}  // namespace
}  // namespace gale
