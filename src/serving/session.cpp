#include "serving/session.h"

#include <algorithm>
#include <new>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/no_memory.h"
#include "serving/random.h"
#include "serving/seed.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

SupervisorConfig supervisor_config(const PipelineConfig& config) {
  SupervisorConfig out = config.supervisor;
  if (config.expected) out.holds_while_loading = true;
  return out;
}

}  // namespace

PipelineParts::PipelineParts(PipelineConfig config_in, std::unique_ptr<Tokenizer> tokenizer_in,
                             std::unique_ptr<ChatTemplate> chat_template_in, GenerationDefaults defaults_in,
                             const Clock& clock, EngineLauncher launcher)
    : config(std::move(config_in)),
      tokenizer(std::move(tokenizer_in)),
      chat_template(std::move(chat_template_in)),
      defaults(std::move(defaults_in)),
      output_format(OutputFormat::detect(*tokenizer)),
      call_dialect(detect_call_dialect(chat_template.get())),
      vocabulary(std::make_shared<const Vocabulary>(vocabulary_of(*tokenizer, defaults.eos_token_ids))),
      admission(config.admission, clock, random_bits()),
      workers(config.num_workers),
      supervisor(supervisor_config(config), clock, std::move(launcher), workers, {*vocabulary}) {
  if (config.grammar_compiler)
    grammars = std::make_unique<GrammarService>(config.grammars, config.grammar_compiler, vocabulary);
}

PipelineParts::~PipelineParts() = default;

SequenceLimits PipelineParts::limits() const {
  SequenceLimits limits{.max_model_len = config.model.max_model_len,
                        .vocab_size = tokenizer->vocab_size(),
                        .default_max_tokens = config.default_max_tokens};
  const std::optional<Ready> ready = supervisor.ready();
  if (ready) limits.vocab_size = ready->vocab_size;
  const int of_engine = ready ? ready->max_model_len : config.expected.value_or(ExpectedEngine{}).max_model_len;
  const bool is_known = ready || config.expected;
  if (is_known && (limits.max_model_len <= 0 || of_engine < limits.max_model_len)) limits.max_model_len = of_engine;
  return limits;
}

Session::Session(std::shared_ptr<PipelineParts> parts, GenerateRequest request, Sink sink, Admission::Slot slot,
                 std::vector<RequestId> ids)
    : parts_(std::move(parts)), ids_(std::move(ids)), request_(std::move(request)), choice_times_(ids_.size()),
      sink_(std::move(sink)), slot_(std::move(slot)) {}

void Session::start() {
  is_queued_ = true;
  if (parts_->config.request_timeout > Duration::zero())
    parts_->deadlines.add(parts_->config.request_timeout, weak_from_this());
  if (!request_.rules.need_grammar()) return parts_->workers.add(shared_from_this(), WorkerPool::Kind::kPrompt);
  Result<std::string> tag = structural_tag();
  if (!tag) return on_grammar(tl::unexpected(tag.error()));
  parts_->grammars->compile(*std::move(tag), [self = shared_from_this()](Result<SharedText> grammar) {
    self->on_grammar(std::move(grammar));
  });
}

Result<std::string> Session::structural_tag() const {
  if (parts_->grammars == nullptr)
    return fail_param(ErrorCode::kUnimplemented, request_.rules.text_param, "grammars are not available here");
  const auto* chat = std::get_if<ChatInput>(&request_.prompt);
  return answer_grammar(request_.rules, chat != nullptr ? chat->tools : Json(), parts_->output_format,
                        parts_->call_dialect);
}

void Session::on_grammar(Result<SharedText> grammar) {
  grammar_ = std::move(grammar);
  if (!grammar_ && grammar_.error().param.empty()) {
    grammar_.error().param = request_.rules.text_format.is_null() ? "tools" : request_.rules.text_param;
    grammar_.error().message = fmt::format("{}: {}", grammar_.error().param, grammar_.error().message);
  }
  parts_->workers.add(shared_from_this(), WorkerPool::Kind::kPrompt);
}

// ---- from other threads ---------------------------------------------------------------------------------------------

void Session::abandon() {
  Sink released;   // destroyed without the lock
  {
    std::lock_guard lock(delivery_mutex_);
    if (is_over_) return;
    is_over_ = true;
    released = std::move(sink_);
    slot_ = {};
  }
  parts_->supervisor.cancel(ids_);
}

void Session::on_output(SequenceOutput output, WorkerPool::Burst& burst) {
  if (receive({std::move(output), std::nullopt})) burst.add(shared_from_this());
}

void Session::on_failure(RequestId id, Error error) {
  if (receive({SequenceOutput{.id = id}, std::move(error)})) queue_output();
}

void Session::on_deadline() {
  Error error{ErrorCode::kDeadline, fmt::format("not done within the {:.0f} s that a request may take",
                                                seconds(parts_->config.request_timeout))};
  if (receive({SequenceOutput{.id = ids_.front()}, std::move(error)})) queue_output();
}

bool Session::receive(Incoming incoming) {
  std::lock_guard lock(inbox_mutex_);
  inbox_.push_back(std::move(incoming));
  return !std::exchange(is_queued_, true);
}

void Session::queue_output() { parts_->workers.add(shared_from_this(), WorkerPool::Kind::kOutput); }

// ---- on a worker ----------------------------------------------------------------------------------------------------

// A request for which there is no memory fails alone. It stays queued, so that nothing runs it again.
void Session::run() {
  try {
    return work();
  } catch (const std::bad_alloc&) {
  }
  when_there_is_memory([this] { fail_request(no_memory()); });   // somebody waits for this word
}

void Session::work() {
  if (!is_prepared_) {
    is_prepared_ = true;
    prepare();
  }
  std::vector<Incoming> arrived;
  {
    std::lock_guard lock(inbox_mutex_);
    arrived.swap(inbox_);
  }
  for (Incoming& incoming : arrived) {
    if (is_over()) break;
    if (incoming.failure) {
      fail_request(std::move(*incoming.failure));
    } else {
      process(std::move(incoming.output));
    }
  }
  {
    std::lock_guard lock(inbox_mutex_);
    is_queued_ = !inbox_.empty();
    if (!is_queued_) return;
  }
  queue_output();   // behind the others: nobody is starved
}

void Session::prepare() {
  if (is_over()) return;
  may_run_out_of_memory("serving.prompt");
  Status submitted = request_.pooling ? submit_inputs() : submit_choices();
  if (!submitted) return fail_request(std::move(submitted).error());
  if (is_over()) parts_->supervisor.cancel(ids_);   // abandoned before the engine knew of it
}

Status Session::submit_choices() {
  const SequenceLimits limits = parts_->limits();
  GALE_ASSIGN(std::vector<TokenId> prompt,
              encode_prompt(request_.prompt, *parts_->tokenizer, parts_->chat_template.get(), limits.vocab_size));
  truncate_prompt(request_, limits, prompt);
  GALE_ASSIGN(Submit submit, make_submit(request_, prompt, parts_->defaults, limits));
  GALE_ASSIGN(submit.sampling.bad_words, encode_bad_words(request_.bad_words, *parts_->tokenizer));
  const PromptThinking thinking = thinking_in_prompt(parts_->output_format, prompt);
  GALE_TRY(constrain(submit, thinking));
  num_prompt_tokens_ = static_cast<int>(prompt.size());
  {
    std::lock_guard lock(delivery_mutex_);
    slot_.correct_prompt_tokens(num_prompt_tokens_ * static_cast<int64_t>(ids_.size()));
  }
  awaits_prompt_logprobs_ = request_.num_prompt_logprobs >= 0;
  for (size_t i = 0; i < ids_.size(); ++i) {
    choices_.emplace_back(*parts_->tokenizer, parts_->output_format, choice_options(thinking));
  }
  request_.prompt = TokenPrompt{};   // large, and of no further use
  emit(Started{std::move(prompt)});
  const uint64_t seed = request_.sampling.seed ? *request_.sampling.seed : random_bits();
  if (!request_.sampling.seed) log_debug("request {} draws with seed {}", request_.request_id, seed);
  for (size_t i = 0; i < ids_.size(); ++i) {
    Submit choice = submit;
    choice.id = ids_[i];
    choice.sampling.seed = choice_seed(seed, static_cast<int>(i));
    if (i > 0) choice.sampling.num_prompt_logprobs = -1;   // the same for all
    GALE_TRY(parts_->supervisor.submit(std::move(choice), shared_from_this()));
  }
  return {};
}

// What the engine is to enforce. A grammar says itself where an answer may end: ignore_eos and min_tokens yield to it.
Status Session::constrain(Submit& submit, PromptThinking thinking) const {
  const bool needs_grammar = request_.rules.need_grammar();
  if (needs_grammar) {
    if (!grammar_) return tl::unexpected(grammar_.error());
    submit.grammar = *grammar_;
    submit.stop.min_tokens = 0;
    for (const TokenId eos : parts_->vocabulary->stop_token_ids)
      if (std::ranges::find(submit.stop.stop_token_ids, eos) == submit.stop.stop_token_ids.end())
        submit.stop.stop_token_ids.push_back(eos);
  }
  const bool thinks = request_.parse_output && thinking != PromptThinking::kClosed;
  if (!thinks || (!needs_grammar && !request_.thinking_budget)) return {};
  submit.thinking.close = parts_->output_format.think_close.id;
  if (thinking == PromptThinking::kUnopened) submit.thinking.open = parts_->output_format.think_open.id;
  submit.thinking.budget = request_.thinking_budget.value_or(-1);
  return {};
}

ChoiceOptions Session::choice_options(PromptThinking thinking) const {
  ChoiceOptions options{.stop_strings = request_.stop,
                        .include_stop_str_in_output = request_.include_stop_str_in_output,
                        .skip_special_tokens = request_.skip_special_tokens,
                        .min_tokens = request_.min_tokens,
                        .was_told_to_call = !request_.rules.only_tool.empty()};
  const auto& eos = parts_->defaults.eos_token_ids;
  for (const TokenId id : request_.stop_token_ids) {
    const bool is_eos = std::find(eos.begin(), eos.end(), id) != eos.end();
    if (request_.ignore_eos || !is_eos) options.reported_stop_ids.push_back(id);
  }
  if (request_.parse_output) {
    const auto* chat = std::get_if<ChatInput>(&request_.prompt);
    options.parser = OutputParserOptions{.starts_in_reasoning = thinking == PromptThinking::kOpen,
                                         .parse_tool_calls = request_.rules.calls != CallRule::kNone,
                                         .tools = chat != nullptr ? chat->tools : Json(),
                                         .tool_call_id_seed = random_bits()};
  }
  return options;
}

void Session::process(SequenceOutput output) {
  const size_t choice = static_cast<size_t>(std::find(ids_.begin(), ids_.end(), output.id) - ids_.begin());
  may_run_out_of_memory("serving.output");
  CHECK(choice < ids_.size(), "output of sequence {} went to another request", output.id.value);
  if (output.finish == FinishReason::kError) {
    return fail_request(output.error.value_or(Error{ErrorCode::kInternal, "the engine failed this request"}));
  }
  if (output.finish == FinishReason::kCancelled) {
    return fail_request({ErrorCode::kUnavailable, "the engine gave this request up"});
  }
  if (request_.pooling) return process_pooled(choice, std::move(output));
  if (awaits_prompt_logprobs_) {
    if (choice > 0) return deferred_.push_back(std::move(output));
    process_prompt_logprobs(output);
  }
  deliver(choice, std::move(output));
  if (awaits_prompt_logprobs_) return;
  for (SequenceOutput& waiting : std::exchange(deferred_, {})) {
    if (!is_over()) process(std::move(waiting));
  }
}

void Session::process_prompt_logprobs(SequenceOutput& output) {
  prompt_logprobs_.insert(prompt_logprobs_.end(), std::make_move_iterator(output.prompt_logprobs.begin()),
                          std::make_move_iterator(output.prompt_logprobs.end()));
  if (output.tokens.empty() && !output.finish) return;
  awaits_prompt_logprobs_ = false;
  emit(PromptLogprobs{std::move(prompt_logprobs_)});
}

void Session::deliver(size_t choice, SequenceOutput output) {
  ChoiceStream& stream = choices_[choice];
  if (stream.is_finished()) return;   // cut at a stop string: what the engine computed beyond it is nobody's
  if (choice == 0 && output.num_cached_tokens) num_cached_tokens_ = *output.num_cached_tokens;
  const bool engine_goes_on = !output.finish;
  note_time(choice, output);
  const auto before = std::chrono::steady_clock::now();
  ChoiceStep step = stream.append(std::move(output));
  parser_time_ += std::chrono::steady_clock::now() - before;
  if (step.finished && engine_goes_on) parts_->supervisor.cancel(std::span(&ids_[choice], 1));
  if (step.has_output) {
    step.delta.choice = static_cast<int>(choice);
    step.delta.usage = usage();
    emit(std::move(step.delta));
  }
  if (!step.finished) return;
  step.finished->choice = static_cast<int>(choice);
  emit(std::move(*step.finished));
  if (++num_finished_ == ids_.size()) end_with(Completed{usage(), times()});
}

void Session::note_time(size_t choice, const SequenceOutput& output) {
  ChoiceTime& time = choice_times_[choice];
  time.waiting_us += output.time.waiting_us;
  time.running_us += output.time.running_us;
  if (!time.has_token) time.prefill_us = time.running_us;
  time.has_token |= !output.tokens.empty();
}

RequestTimes Session::times() const {
  const ChoiceTime& last = *std::ranges::max_element(
      choice_times_, {}, [](const ChoiceTime& time) { return time.waiting_us + time.running_us; });
  const auto to_seconds = [](int64_t us) { return static_cast<double>(us) * 1e-6; };
  return {.queue_s = to_seconds(last.waiting_us),
          .prefill_s = to_seconds(last.prefill_us),
          .inference_s = to_seconds(last.running_us),
          .parser_s = seconds(parser_time_)};
}

Usage Session::usage() const {
  Usage usage{.prompt_tokens = num_prompt_tokens_, .cached_tokens = num_cached_tokens_};
  for (const ChoiceStream& choice : choices_) {
    usage.completion_tokens += choice.num_tokens();
    usage.reasoning_tokens += choice.num_reasoning_tokens();
  }
  return usage;
}

void Session::fail_request(Error error) {
  const bool is_worth_retrying = error.code == ErrorCode::kOverloaded || error.code == ErrorCode::kUnavailable;
  std::optional<int> retry_after_s;
  if (is_worth_retrying) retry_after_s = parts_->admission.retry_after_s();
  if (error.code == ErrorCode::kInternal) {   // what clients are told refers to the log
    log_if_possible([&] {
      log_line(LogLevel::kError, fmt::format("request {} failed: {}", request_.request_id, error.message),
               {{"request_id", request_.request_id}});
    });
  } else {
    log_debug("request {} failed: {}", request_.request_id, error.message);
  }
  end_with(Failed{std::move(error), retry_after_s});
  parts_->supervisor.cancel(ids_);
}

// ---- to the client --------------------------------------------------------------------------------------------------

bool Session::is_over() const {
  std::lock_guard lock(delivery_mutex_);
  return is_over_;
}

void Session::emit(Event event) {
  std::lock_guard lock(delivery_mutex_);
  if (!is_over_) sink_(std::move(event));
}

void Session::end_with(Event event) {
  Sink released;
  std::lock_guard lock(delivery_mutex_);
  if (is_over_) return;
  is_over_ = true;
  slot_ = {};   // first: whoever hears the end may come with the next request at once
  released = std::move(sink_);
  try {
    return released(std::move(event));
  } catch (const std::bad_alloc&) {
  }
  // Nobody else would say that this is the end.
  when_there_is_memory([&] { released(Failed{no_memory(), std::nullopt}); });
}

}  // namespace gale
