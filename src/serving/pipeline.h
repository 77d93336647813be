#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/distribution.h"
#include "base/result.h"
#include "base/token.h"
#include "chat/generation.h"
#include "request/messages.h"
#include "request/sampling_params.h"
#include "serving/tenant_limits.h"

namespace gale {

// Called from pipeline threads, one call at a time for a request, in order. Must not block and must not call back into
// the pipeline, except to destroy nothing: cancelling is done by destroying the handle from the sink owner's own
// thread.
using Sink = std::function<void(Event)>;

// Destroying it cancels the request (no further sink call once the destructor has returned). Movable.
class RequestHandle {
 public:
  virtual ~RequestHandle() = default;
};

// What is known of the model that is being served.
struct ServedModel {
  std::string name;                             // first --served-model-name
  std::vector<std::string> aliases;             // further names
  std::string path;
  int max_model_len = 0;
  int64_t created = 0;                          // unix seconds
  SamplingParams sampling;                      // what counts where a request says nothing
};

// From a cancel to the engine's word that slot and blocks are free.
inline constexpr std::array kCancelToFreeBounds = {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1., 2.5, 5., 10.};
using CancelToFree = Distribution<kCancelToFreeBounds>;

enum class Health : uint8_t { kLoading, kReady, kDraining, kStalled, kDead };
struct PipelineStatus {
  Health health = Health::kLoading;
  std::string reason;                           // one line, for /health
  double beat_age_s = 0;
  int num_engine_restarts = 0;
  int num_live_requests = 0;                    // in the journal: waiting and running
  std::optional<Ready> engine;
  int max_model_len = 0;                        // before the engine is ready: as far as it is known; 0: not
  Stats stats;
  CancelToFree cancel_to_free;                  // seconds
};

// Requests in, events out. Thread-safe.
class Pipeline {
 public:
  virtual ~Pipeline() = default;
  // Refuses at once (limits first, before any work): kOverloaded, kUnavailable. Everything later arrives at the sink,
  // kInvalidArgument and kContextLength of tokenising included.
  [[nodiscard]] virtual Result<std::unique_ptr<RequestHandle>> submit(GenerateRequest request, Sink sink) = 0;
  // Seconds after which trying again makes sense, with jitter: 1 … 30.
  [[nodiscard]] virtual int retry_after_s() const = 0;
  // What that tenant has left of its requests a minute; none: they are not counted.
  [[nodiscard]] virtual std::optional<RateLimit> rate_limit(const std::string& tenant) const = 0;
  [[nodiscard]] virtual const ServedModel& model() const = 0;
  [[nodiscard]] virtual PipelineStatus status() const = 0;

  // /tokenize, /detokenize.
  [[nodiscard]] virtual Result<std::vector<TokenId>> tokenize(const PromptInput& prompt) const = 0;
  [[nodiscard]] virtual Result<std::string> detokenize(std::span<const TokenId> tokens) const = 0;
  // Bytes of one token, for logprobs and token_strs.
  [[nodiscard]] virtual std::string token_text(TokenId token) const = 0;
};

}  // namespace gale
