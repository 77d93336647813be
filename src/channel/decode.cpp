#include <channel/channel.pb.h>

#include <cmath>

#include "channel/codec.h"
#include "channel/wire_enums_internal.h"

namespace gale {
namespace {

// Collects the first thing found wrong, so that reading a message stays a list of fields.
class Reader {
 public:
  template <class Number>
  Number not_negative(Number value, std::string_view field) {
    if (value < 0) blame(field, "is negative");
    return value;
  }
  template <class Number>
  Number positive(Number value, std::string_view field) {
    if (value < 1) blame(field, "is below 1");
    return value;
  }
  float finite(float value, std::string_view field) {
    if (!std::isfinite(value)) blame(field, "is not finite");
    return value;
  }
  template <class Number>
  Number not_nan(Number value, std::string_view field) {   // a logprob may well be -infinity
    if (std::isnan(value)) blame(field, "is not a number");
    return value;
  }
  template <class Names, class Wire>
  auto known(const Names& names, Wire value, std::string_view field) {
    auto ours = from_wire(names, value);
    if (!ours) blame(field, "has an unknown value");
    return ours.value_or(names.front().first);
  }
  template <class Repeated>
  std::vector<TokenId> tokens(const Repeated& in, std::string_view field) {
    for (TokenId token : in) not_negative(token, field);
    return {in.begin(), in.end()};
  }
  void blame(std::string_view field, std::string_view complaint) {
    if (complaint_.empty()) complaint_ = fmt::format("{} {}", field, complaint);
  }

  template <class T>
  [[nodiscard]] Result<T> result(T value) {
    if (!complaint_.empty()) return fail(ErrorCode::kCorrupt, "channel message: {}", complaint_);
    return value;
  }

 private:
  std::string complaint_;
};

SamplingParams get(Reader& reader, const wire::Sampling& in) {
  SamplingParams out;
  out.temperature = reader.finite(in.temperature(), "temperature");
  out.top_p = reader.finite(in.top_p(), "top_p");
  out.min_p = reader.finite(in.min_p(), "min_p");
  out.top_k = in.top_k();
  out.repetition_penalty = reader.finite(in.repetition_penalty(), "repetition_penalty");
  out.frequency_penalty = reader.finite(in.frequency_penalty(), "frequency_penalty");
  out.presence_penalty = reader.finite(in.presence_penalty(), "presence_penalty");
  out.seed = in.seed();
  for (const wire::LogitBias& entry : in.logit_bias()) {
    out.logit_bias.emplace_back(reader.not_negative(entry.token(), "logit_bias.token"),
                                reader.finite(entry.bias(), "logit_bias.bias"));
  }
  out.allowed_token_ids = reader.tokens(in.allowed_token_ids(), "allowed_token_ids");
  for (const wire::TokenRun& word : in.bad_words()) {
    out.bad_words.push_back(reader.tokens(word.tokens(), "bad_words"));
    if (word.tokens().empty()) reader.blame("bad_words", "hold an empty word");
  }
  out.num_logprobs = in.num_logprobs();
  out.num_prompt_logprobs = in.num_prompt_logprobs();
  return out;
}

Submit get(Reader& reader, const wire::Submit& in) {
  if (!in.has_sampling() || !in.has_stop()) reader.blame("submit", "lacks sampling or stop");
  Submit out;
  out.id.value = in.id();
  out.prompt = reader.tokens(in.prompt(), "prompt");
  if (out.prompt.empty()) reader.blame("prompt", "is empty");
  out.output = reader.tokens(in.output(), "output");
  out.sampling = get(reader, in.sampling());
  out.stop.stop_token_ids = reader.tokens(in.stop().stop_token_ids(), "stop_token_ids");
  out.stop.min_tokens = reader.not_negative(in.stop().min_tokens(), "min_tokens");
  out.stop.max_tokens = reader.positive(in.stop().max_tokens(), "max_tokens");
  out.cache_salt = in.cache_salt();
  out.extra_hash_keys.assign(in.extra_hash_keys().begin(), in.extra_hash_keys().end());
  out.priority = in.priority();
  out.deadline_ms = reader.not_negative(in.deadline_ms(), "deadline_ms");
  out.grammar = SharedText(in.grammar());
  out.pooling = reader.known(kWirePoolings, in.pooling(), "pooling");
  out.thinking = {.open = reader.not_negative(in.thinking().open(), "thinking.open") - 1,
                  .close = reader.not_negative(in.thinking().close(), "thinking.close") - 1,
                  .budget = reader.not_negative(in.thinking().budget(), "thinking.budget") - 1};
  return out;
}

Vocabulary get(Reader& reader, const wire::Vocabulary& in) {
  return {.tokens = {in.tokens().begin(), in.tokens().end()},
          .control_tokens = reader.tokens(in.control_tokens(), "control_tokens"),
          .stop_token_ids = reader.tokens(in.stop_token_ids(), "stop_token_ids")};
}

Error get(Reader& reader, const wire::Error& in) {
  return {reader.known(kWireErrorCodes, in.code(), "error.code"), in.message(), in.param()};
}

TokenLogprob get(Reader& reader, const wire::TokenLogprob& in) {
  return {.token = reader.not_negative(in.token(), "logprob.token"),
          .logprob = reader.not_nan(in.logprob(), "logprob"),
          .rank = in.rank()};
}

template <class Repeated>
std::vector<TokenLogprobs> get_logprobs(Reader& reader, const Repeated& in) {
  std::vector<TokenLogprobs> out;
  out.reserve(static_cast<size_t>(in.size()));
  for (const wire::TokenLogprobs& entry : in) {
    TokenLogprobs& position = out.emplace_back();
    position.chosen = get(reader, entry.chosen());
    for (const wire::TokenLogprob& top : entry.top()) position.top.push_back(get(reader, top));
  }
  return out;
}

SequenceOutput get(Reader& reader, const wire::SequenceOutput& in) {
  SequenceOutput out;
  out.id.value = in.id();
  out.tokens = reader.tokens(in.tokens(), "tokens");
  out.logprobs = get_logprobs(reader, in.logprobs());
  out.prompt_logprobs = get_logprobs(reader, in.prompt_logprobs());
  if (in.has_finish()) out.finish = reader.known(kWireFinishReasons, in.finish(), "finish");
  if (in.has_stop_token()) out.stop_token = reader.not_negative(in.stop_token(), "stop_token");
  if (in.has_error()) out.error = get(reader, in.error());
  if (in.has_num_cached_tokens()) {
    out.num_cached_tokens = reader.not_negative(in.num_cached_tokens(), "num_cached_tokens");
  }
  for (const float value : in.pooled()) out.pooled.push_back(reader.finite(value, "pooled"));
  out.time = {.waiting_us = reader.not_negative(in.waiting_us(), "waiting_us"),
              .running_us = reader.not_negative(in.running_us(), "running_us")};
  return out;
}

StepOutput get(Reader& reader, const wire::StepOutput& in) {
  StepOutput out;
  out.step = in.step();
  out.sequences.reserve(static_cast<size_t>(in.sequences_size()));
  for (const wire::SequenceOutput& sequence : in.sequences()) out.sequences.push_back(get(reader, sequence));
  return out;
}

Ready get(Reader& reader, const wire::Ready& in) {
  return {.model_name = in.model_name(),
          .max_model_len = reader.positive(in.max_model_len(), "max_model_len"),
          .vocab_size = reader.positive(in.vocab_size(), "vocab_size"),
          .block_size = reader.not_negative(in.block_size(), "block_size"),
          .num_blocks = reader.not_negative(in.num_blocks(), "num_blocks"),
          .max_num_seqs = reader.positive(in.max_num_seqs(), "max_num_seqs"),
          .load_seconds = reader.not_nan(in.load_seconds(), "load_seconds"),
          .hidden_size = reader.not_negative(in.hidden_size(), "hidden_size"),
          .memory_bytes = reader.not_negative(in.memory_bytes(), "memory_bytes")};
}

Distribution<kStepTokenBounds> get_step_tokens(Reader& reader, const wire::Stats& in) {
  Distribution<kStepTokenBounds> out;
  const bool has_all = in.step_token_counts_size() == static_cast<int>(out.counts.size());
  if (has_all) std::ranges::copy(in.step_token_counts(), out.counts.begin());
  else reader.blame("step_token_counts", "has another length");
  out.sum = reader.not_nan(in.step_token_sum(), "step_token_sum");
  return out;
}

Stats get(Reader& reader, const wire::Stats& in) {
  return {.step = in.step(),
          .num_running = reader.not_negative(in.num_running(), "num_running"),
          .num_waiting = reader.not_negative(in.num_waiting(), "num_waiting"),
          .num_blocks = reader.not_negative(in.num_blocks(), "num_blocks"),
          .num_free_blocks = reader.not_negative(in.num_free_blocks(), "num_free_blocks"),
          .num_cached_blocks = reader.not_negative(in.num_cached_blocks(), "num_cached_blocks"),
          .num_preemptions = in.num_preemptions(),
          .prefix_queries = in.prefix_queries(),
          .prefix_hits = in.prefix_hits(),
          .prompt_tokens = in.prompt_tokens(),
          .generation_tokens = in.generation_tokens(),
          .num_leaked_blocks = in.num_leaked_blocks(),
          .num_failures = in.num_failures(),
          .num_kv_warnings = in.num_kv_warnings(),
          .num_layered_steps = in.num_layered_steps(),
          .step_tokens = get_step_tokens(reader, in)};
}

Hello get(const wire::Hello& in) { return {.protocol_version = in.protocol_version(), .build_id = in.build_id()}; }

template <class Envelope>
Result<Envelope> parse(std::string_view bytes) {
  Envelope envelope;
  const bool is_whole = bytes.size() <= kMaxMessageBytes &&
                        envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  if (!is_whole || bytes.empty()) {
    return fail(ErrorCode::kCorrupt, "channel message: {} bytes that are no message", bytes.size());
  }
  return envelope;
}

}  // namespace

Result<EngineWire> decode_to_engine(std::string_view bytes) {
  GALE_ASSIGN(const wire::ToEngine envelope, parse<wire::ToEngine>(bytes));
  Reader reader;
  switch (envelope.kind_case()) {
    case wire::ToEngine::kHello: return get(envelope.hello());
    case wire::ToEngine::kSubmit: return reader.result(EngineWire(get(reader, envelope.submit())));
    case wire::ToEngine::kCancel: return Cancel{{envelope.cancel().id()}};
    case wire::ToEngine::kControl: {
      const Control control{reader.known(kWireControlCommands, envelope.control().command(), "command")};
      return reader.result(EngineWire(control));
    }
    case wire::ToEngine::kVocabulary: return reader.result(EngineWire(get(reader, envelope.vocabulary())));
    case wire::ToEngine::KIND_NOT_SET: return UnknownMessage{};
  }
  return UnknownMessage{};
}

Result<FrontWire> decode_to_front(std::string_view bytes) {
  GALE_ASSIGN(const wire::ToFront envelope, parse<wire::ToFront>(bytes));
  Reader reader;
  switch (envelope.kind_case()) {
    case wire::ToFront::kHello: return get(envelope.hello());
    case wire::ToFront::kReady: return reader.result(FrontWire(get(reader, envelope.ready())));
    case wire::ToFront::kStepOutput: return reader.result(FrontWire(get(reader, envelope.step_output())));
    case wire::ToFront::kStats: return reader.result(FrontWire(get(reader, envelope.stats())));
    case wire::ToFront::kFault: return reader.result(FrontWire(Fault{get(reader, envelope.fault().error())}));
    case wire::ToFront::KIND_NOT_SET: return UnknownMessage{};
  }
  return UnknownMessage{};
}

}  // namespace gale
