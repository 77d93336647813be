#include <channel/channel.pb.h>

#include "channel/codec.h"
#include "channel/wire_enums_internal.h"

namespace gale {
namespace {

template <class Repeated>
void put(Repeated* out, const std::vector<TokenId>& tokens) {
  out->Add(tokens.begin(), tokens.end());
}

void put(wire::Sampling& out, const SamplingParams& in) {
  out.set_temperature(in.temperature);
  out.set_top_p(in.top_p);
  out.set_min_p(in.min_p);
  out.set_top_k(in.top_k);
  out.set_repetition_penalty(in.repetition_penalty);
  out.set_frequency_penalty(in.frequency_penalty);
  out.set_presence_penalty(in.presence_penalty);
  out.set_seed(in.seed);
  for (const auto& [token, bias] : in.logit_bias) {
    wire::LogitBias& entry = *out.add_logit_bias();
    entry.set_token(token);
    entry.set_bias(bias);
  }
  put(out.mutable_allowed_token_ids(), in.allowed_token_ids);
  for (const std::vector<TokenId>& word : in.bad_words) put(out.add_bad_words()->mutable_tokens(), word);
  out.set_num_logprobs(in.num_logprobs);
  out.set_num_prompt_logprobs(in.num_prompt_logprobs);
}

void put(wire::ToEngine& envelope, const Submit& in) {
  wire::Submit& out = *envelope.mutable_submit();
  out.set_id(in.id.value);
  put(out.mutable_prompt(), in.prompt);
  put(out.mutable_output(), in.output);
  put(*out.mutable_sampling(), in.sampling);
  put(out.mutable_stop()->mutable_stop_token_ids(), in.stop.stop_token_ids);
  out.mutable_stop()->set_min_tokens(in.stop.min_tokens);
  out.mutable_stop()->set_max_tokens(in.stop.max_tokens);
  out.set_cache_salt(in.cache_salt);
  for (const std::string& key : in.extra_hash_keys) out.add_extra_hash_keys(key);
  out.set_priority(in.priority);
  out.set_deadline_ms(in.deadline_ms);
  out.set_grammar(in.grammar.str());
  out.set_pooling(to_wire(kWirePoolings, in.pooling));
  if (in.thinking == Thinking{}) return;
  out.mutable_thinking()->set_open(in.thinking.open + 1);   // absent fields are 0, and that is a token
  out.mutable_thinking()->set_close(in.thinking.close + 1);
  out.mutable_thinking()->set_budget(in.thinking.budget + 1);
}

void put(wire::ToEngine& envelope, const Cancel& in) { envelope.mutable_cancel()->set_id(in.id.value); }

void put(wire::ToEngine& envelope, const Control& in) {
  envelope.mutable_control()->set_command(to_wire(kWireControlCommands, in.command));
}

void put(wire::ToEngine& envelope, const Vocabulary& in) {
  wire::Vocabulary& out = *envelope.mutable_vocabulary();
  for (const std::string& token : in.tokens) out.add_tokens(token);
  put(out.mutable_control_tokens(), in.control_tokens);
  put(out.mutable_stop_token_ids(), in.stop_token_ids);
}

void put(wire::Error& out, const Error& in) {
  out.set_code(to_wire(kWireErrorCodes, in.code));
  out.set_message(in.message);
  out.set_param(in.param);
}

void put(wire::TokenLogprob& out, const TokenLogprob& in) {
  out.set_token(in.token);
  out.set_logprob(in.logprob);
  out.set_rank(in.rank);
}

void put(wire::TokenLogprobs& out, const TokenLogprobs& in) {
  put(*out.mutable_chosen(), in.chosen);
  for (const TokenLogprob& entry : in.top) put(*out.add_top(), entry);
}

void put(wire::SequenceOutput& out, const SequenceOutput& in) {
  out.set_id(in.id.value);
  put(out.mutable_tokens(), in.tokens);
  for (const TokenLogprobs& entry : in.logprobs) put(*out.add_logprobs(), entry);
  for (const TokenLogprobs& entry : in.prompt_logprobs) put(*out.add_prompt_logprobs(), entry);
  if (in.finish) out.set_finish(to_wire(kWireFinishReasons, *in.finish));
  if (in.stop_token) out.set_stop_token(*in.stop_token);
  if (in.error) put(*out.mutable_error(), *in.error);
  if (in.num_cached_tokens) out.set_num_cached_tokens(*in.num_cached_tokens);
  out.mutable_pooled()->Add(in.pooled.begin(), in.pooled.end());
  out.set_waiting_us(in.time.waiting_us);
  out.set_running_us(in.time.running_us);
}

void put(wire::ToFront& envelope, const Ready& in) {
  wire::Ready& out = *envelope.mutable_ready();
  out.set_model_name(in.model_name);
  out.set_max_model_len(in.max_model_len);
  out.set_vocab_size(in.vocab_size);
  out.set_block_size(in.block_size);
  out.set_num_blocks(in.num_blocks);
  out.set_max_num_seqs(in.max_num_seqs);
  out.set_load_seconds(in.load_seconds);
  out.set_hidden_size(in.hidden_size);
  out.set_memory_bytes(in.memory_bytes);
}

void put(wire::ToFront& envelope, const StepOutput& in) {
  wire::StepOutput& out = *envelope.mutable_step_output();
  out.set_step(in.step);
  for (const SequenceOutput& sequence : in.sequences) put(*out.add_sequences(), sequence);
}

void put(wire::ToFront& envelope, const Stats& in) {
  wire::Stats& out = *envelope.mutable_stats();
  out.set_step(in.step);
  out.set_num_running(in.num_running);
  out.set_num_waiting(in.num_waiting);
  out.set_num_blocks(in.num_blocks);
  out.set_num_free_blocks(in.num_free_blocks);
  out.set_num_cached_blocks(in.num_cached_blocks);
  out.set_num_preemptions(in.num_preemptions);
  out.set_prefix_queries(in.prefix_queries);
  out.set_prefix_hits(in.prefix_hits);
  out.set_prompt_tokens(in.prompt_tokens);
  out.set_generation_tokens(in.generation_tokens);
  out.set_num_leaked_blocks(in.num_leaked_blocks);
  out.set_num_failures(in.num_failures);
  out.set_num_kv_warnings(in.num_kv_warnings);
  out.set_num_layered_steps(in.num_layered_steps);
  out.mutable_step_token_counts()->Add(in.step_tokens.counts.begin(), in.step_tokens.counts.end());
  out.set_step_token_sum(in.step_tokens.sum);
}

void put(wire::ToFront& envelope, const Fault& in) { put(*envelope.mutable_fault()->mutable_error(), in.error); }

template <class Envelope, class Message>
std::string encode_any(const Message& message) {
  Envelope envelope;
  std::visit([&](const auto& kind) { put(envelope, kind); }, message);
  return envelope.SerializeAsString();
}

template <class Envelope>
std::string encode_hello(const Hello& hello) {
  Envelope envelope;
  envelope.mutable_hello()->set_protocol_version(hello.protocol_version);
  envelope.mutable_hello()->set_build_id(hello.build_id);
  return envelope.SerializeAsString();
}

}  // namespace

std::string encode(const ToEngine& message) { return encode_any<wire::ToEngine>(message); }
std::string encode(const ToFront& message) { return encode_any<wire::ToFront>(message); }
std::string encode_hello_to_engine(const Hello& hello) { return encode_hello<wire::ToEngine>(hello); }
std::string encode_hello_to_front(const Hello& hello) { return encode_hello<wire::ToFront>(hello); }

}  // namespace gale
