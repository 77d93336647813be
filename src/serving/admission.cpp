#include "serving/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gale {
namespace {

constexpr double kMinRetrySeconds = 1, kMaxRetrySeconds = 30;
constexpr double kBlindRetrySeconds = 3;   // nothing to estimate from yet

}  // namespace

Admission::Admission(AdmissionConfig config, const Clock& clock, uint64_t jitter_seed)
    : config_(config), clock_(clock), jitter_(jitter_seed), tenants_(config.tenants) {}

Admission::Slot::~Slot() {
  if (admission_ != nullptr) admission_->release(*this);
}

void Admission::Slot::swap(Slot& other) noexcept {
  std::swap(admission_, other.admission_);
  std::swap(num_sequences_, other.num_sequences_);
  std::swap(num_prompt_tokens_, other.num_prompt_tokens_);
  std::swap(tenant_, other.tenant_);
  std::swap(since_, other.since_);
}

void Admission::Slot::correct_prompt_tokens(int64_t num_prompt_tokens) {
  if (admission_ == nullptr) return;
  std::lock_guard lock(admission_->mutex_);
  admission_->num_live_prompt_tokens_ += num_prompt_tokens - num_prompt_tokens_;
  num_prompt_tokens_ = num_prompt_tokens;
}

Status Admission::check_load(int num_sequences, int64_t num_prompt_tokens, const EngineCapacity& capacity) const {
  const int max_waiting = config_.max_waiting > 0 ? config_.max_waiting : config_.queue_factor * max_num_seqs_;
  const int max_live = max_num_seqs_ + max_waiting;
  if (num_sequences > max_live) {
    return fail_param(ErrorCode::kInvalidArgument, "n", "{} sequences are more than this server takes at once ({})",
                      num_sequences, max_live);
  }
  if (config_.max_live_requests > 0 && num_live_requests_ >= config_.max_live_requests) {
    return fail(ErrorCode::kOverloaded, "the server is busy: {} requests are running or waiting, as many as may",
                num_live_requests_);
  }
  if (num_live_sequences_ + num_sequences > max_live) {
    return fail(ErrorCode::kOverloaded, "the server is busy: {} sequences are running or waiting, {} may",
                num_live_sequences_, max_live);
  }
  GALE_TRY(check_wait(num_sequences));
  const int64_t max_tokens =
      config_.max_prompt_tokens > 0 ? config_.max_prompt_tokens : config_.prompt_factor * capacity.num_cache_tokens;
  const bool others_live = num_live_sequences_ > 0;   // alone a request is measured against the context only
  if (max_tokens > 0 && others_live && num_live_prompt_tokens_ + num_prompt_tokens > max_tokens) {
    return fail(ErrorCode::kOverloaded,
                "the server is busy: requests of {} prompt tokens are running or waiting, {} may",
                num_live_prompt_tokens_, max_tokens);
  }
  return {};
}

Status Admission::check_wait(int num_sequences) const {
  const int num_before = num_live_sequences_ + num_sequences - max_num_seqs_;   // that have to end before this one runs
  const std::optional<double> wait = num_before > 0 ? seconds_for(num_before) : std::nullopt;
  if (!wait) return {};
  if (config_.max_wait_s > 0 && *wait > config_.max_wait_s) {
    return fail(ErrorCode::kOverloaded, "the server is busy: this request would wait about {:.0f} s, {} are the most",
                *wait, config_.max_wait_s);
  }
  const bool is_bounded = config_.overload_wait > Duration::zero() && pace_.is_overloaded();
  if (is_bounded && *wait > seconds(config_.overload_wait)) {
    return fail(ErrorCode::kOverloaded,
                "the server is overloaded: this request would wait about {:.3g} s, {:.3g} are the most now", *wait,
                seconds(config_.overload_wait));
  }
  return {};
}

Result<Admission::Slot> Admission::admit(int num_sequences, int64_t num_prompt_tokens, const EngineCapacity& capacity,
                                         const std::string& tenant) {
  std::lock_guard lock(mutex_);
  max_num_seqs_ = std::max(1, capacity.max_num_seqs);
  const TimePoint now = clock_.now();
  pace_.note(now, is_full());
  GALE_TRY(check_load(num_sequences, num_prompt_tokens, capacity));
  Slot slot;
  slot.tenant_ = tenant;               // what takes memory comes before anything is counted
  GALE_TRY(tenants_.enter(tenant, now));
  slot.admission_ = this;
  slot.num_sequences_ = num_sequences;
  slot.num_prompt_tokens_ = num_prompt_tokens;
  ++num_live_requests_;
  num_live_sequences_ += num_sequences;
  num_live_prompt_tokens_ += num_prompt_tokens;
  slot.since_ = now;
  pace_.note(now, is_full());
  return slot;
}

void Admission::release(const Slot& slot) {
  std::lock_guard lock(mutex_);
  const TimePoint now = clock_.now();
  for (int i = 0; i < slot.num_sequences_; ++i) pace_.note_end(now, now - slot.since_);
  --num_live_requests_;
  num_live_sequences_ -= slot.num_sequences_;
  num_live_prompt_tokens_ -= slot.num_prompt_tokens_;
  pace_.note(now, is_full());
  tenants_.leave(slot.tenant_, now);
}

std::optional<double> Admission::seconds_for(int num_sequences) const {
  const std::optional<double> interval = pace_.seconds_an_end();
  if (!interval) return std::nullopt;
  return num_sequences * *interval;
}

int Admission::retry_after_s() const {
  std::lock_guard lock(mutex_);
  const double wait = seconds_for(std::max(1, num_live_sequences_ - max_num_seqs_ + 1)).value_or(kBlindRetrySeconds);
  const double jittered = wait * std::uniform_real_distribution<double>(0.75, 1.25)(jitter_) +
                          std::uniform_real_distribution<double>(0, 1)(jitter_);
  return static_cast<int>(std::lround(std::clamp(std::ceil(jittered), kMinRetrySeconds, kMaxRetrySeconds)));
}

std::optional<RateLimit> Admission::rate_limit(const std::string& tenant) const {
  std::lock_guard lock(mutex_);
  return tenants_.rate_limit(tenant, clock_.now());
}

int Admission::num_live_requests() const {
  std::lock_guard lock(mutex_);
  return num_live_requests_;
}

}  // namespace gale
