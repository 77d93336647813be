#include "serving/engine_pipeline.h"

#include <atomic>
#include <thread>
#include <utility>

#include "base/check.h"
#include "serving/random.h"
#include "serving/session.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

constexpr std::chrono::milliseconds kDrainPoll{5};
constexpr int kMaxChoices = 4096;   // of any configuration; the door decides what fits

class SessionHandle final : public RequestHandle {
 public:
  explicit SessionHandle(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  ~SessionHandle() override { session_->abandon(); }

 private:
  const std::shared_ptr<Session> session_;   // shared with the workers and the supervisor while it runs
};

class Implementation final : public EnginePipeline {
 public:
  Implementation(std::shared_ptr<PipelineParts> parts, const Clock& clock) : parts_(std::move(parts)), clock_(clock) {}
  ~Implementation() override { shutdown(Duration::zero()); }

  Result<std::unique_ptr<RequestHandle>> submit(GenerateRequest request, Sink sink) override;
  int retry_after_s() const override { return parts_->admission.retry_after_s(); }
  std::optional<RateLimit> rate_limit(const std::string& tenant) const override {
    return parts_->admission.rate_limit(tenant);
  }
  const ServedModel& model() const override { return parts_->config.model; }
  PipelineStatus status() const override;
  Result<std::vector<TokenId>> tokenize(const PromptInput& prompt) const override;
  Result<std::string> detokenize(std::span<const TokenId> tokens) const override;
  std::string token_text(TokenId token) const override { return std::string(parts_->tokenizer->token_bytes(token)); }

  void begin_drain() override { is_draining_ = true; }
  bool shutdown(Duration patience) override;
  std::optional<Error> engine_fault() const override { return parts_->supervisor.status().fault; }

 private:
  const std::shared_ptr<PipelineParts> parts_;
  const Clock& clock_;
  std::atomic<bool> is_draining_ = false;
  std::atomic<uint64_t> next_id_ = 1;
};

Result<std::unique_ptr<RequestHandle>> Implementation::submit(GenerateRequest request, Sink sink) {
  if (is_draining_) return fail(ErrorCode::kUnavailable, "the server is shutting down");
  GALE_TRY(parts_->supervisor.availability());
  if (request.n < 1 || request.n > kMaxChoices) {
    return fail_param(ErrorCode::kInvalidArgument, "n", "n is {}, expected 1 to {}", request.n, kMaxChoices);
  }
  EngineCapacity capacity = parts_->config.expected.value_or(ExpectedEngine{}).capacity;
  if (const std::optional<Ready> ready = parts_->supervisor.ready()) {
    capacity = {.max_num_seqs = ready->max_num_seqs, .num_cache_tokens = ready->num_blocks * ready->block_size};
  }
  int num_sequences = request.n;
  int64_t num_tokens = 0;
  if (request.pooling) {
    const std::vector<PromptInput>& inputs = request.pooling->inputs;
    CHECK(!inputs.empty(), "nothing to pool");
    for (const PromptInput& input : inputs) num_tokens += estimate_prompt_tokens(input);
    num_sequences = num_pooled_at_once(inputs.size(), capacity.max_num_seqs);
    num_tokens = num_tokens * num_sequences / std::ssize(inputs);
    request.n = static_cast<int>(inputs.size());
  } else {
    num_tokens = estimate_prompt_tokens(request.prompt) * request.n;
  }
  GALE_ASSIGN(Admission::Slot slot, parts_->admission.admit(num_sequences, num_tokens, capacity, request.tenant));
  std::vector<RequestId> ids;
  for (int i = 0; i < request.n; ++i) ids.push_back(RequestId{next_id_++});
  auto session =
      std::make_shared<Session>(parts_, std::move(request), std::move(sink), std::move(slot), std::move(ids));
  session->start();
  return std::make_unique<SessionHandle>(std::move(session));
}

PipelineStatus Implementation::status() const {
  const EngineStatus engine = parts_->supervisor.status();
  PipelineStatus status{.beat_age_s = seconds(engine.beat_age),
                        .num_engine_restarts = engine.num_restarts,
                        .num_live_requests = parts_->admission.num_live_requests(),
                        .engine = engine.ready,
                        .max_model_len = parts_->limits().max_model_len,
                        .stats = engine.stats,
                        .cancel_to_free = engine.cancel_to_free};
  const std::string because = engine.cause.empty() ? "" : ": " + engine.cause;
  switch (engine.phase) {
    case EnginePhase::kLoading:
      status.health = Health::kLoading;
      status.reason = "the model is loading" + because;
      break;
    case EnginePhase::kReady: status.health = Health::kReady; break;
    case EnginePhase::kRestarting:
      status.health = Health::kLoading;
      status.reason = "the engine is restarting" + because;
      break;
    case EnginePhase::kDead:
      status.health = Health::kDead;
      status.reason = "the engine does not stay up" + because;
      break;
    case EnginePhase::kStopped:
      status.health = Health::kDead;
      status.reason = "stopped";
      break;
  }
  if (engine.is_stalled) {
    status.health = Health::kStalled;
    status.reason = fmt::format("no sign of life from the engine for {:.1f} s", status.beat_age_s);
  } else if (is_draining_ && engine.phase != EnginePhase::kDead) {
    status.health = Health::kDraining;
    status.reason = "the server is shutting down";
  }
  return status;
}

Result<std::vector<TokenId>> Implementation::tokenize(const PromptInput& prompt) const {
  return encode_prompt(prompt, *parts_->tokenizer, parts_->chat_template.get(), parts_->limits().vocab_size);
}

Result<std::string> Implementation::detokenize(std::span<const TokenId> tokens) const {
  const int vocab_size = parts_->tokenizer->vocab_size();
  for (const TokenId token : tokens) {
    if (token < 0 || token >= vocab_size) {
      return fail_param(ErrorCode::kInvalidArgument, "tokens", "token id {} is outside of the vocabulary (0 to {})",
                        token, vocab_size - 1);
    }
  }
  return parts_->tokenizer->decode(tokens, false);
}

bool Implementation::shutdown(Duration patience) {
  begin_drain();
  const TimePoint give_up = clock_.now() + patience;
  while (parts_->admission.num_live_requests() > 0 && clock_.now() < give_up) std::this_thread::sleep_for(kDrainPoll);
  const bool all_ended = parts_->admission.num_live_requests() == 0;
  parts_->deadlines.stop();
  if (parts_->grammars) parts_->grammars->stop();
  parts_->supervisor.stop();
  parts_->workers.stop();
  return all_ended;
}

}  // namespace

std::unique_ptr<EnginePipeline> make_pipeline(PipelineConfig config, std::unique_ptr<Tokenizer> tokenizer,
                                              std::unique_ptr<ChatTemplate> chat_template, GenerationDefaults defaults,
                                              const Clock& clock, EngineLauncher launcher) {
  config.model.sampling = default_sampling(defaults);
  auto parts = std::make_shared<PipelineParts>(std::move(config), std::move(tokenizer), std::move(chat_template),
                                               std::move(defaults), clock, std::move(launcher));
  return std::make_unique<Implementation>(std::move(parts), clock);
}

}  // namespace gale
