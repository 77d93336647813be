#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "serving/service_pace.h"
#include "serving/tenant_limits.h"

namespace gale {

struct AdmissionConfig {
  int queue_factor = 4;                // sequences that may wait, for each that may run
  int max_waiting = 0;                 // sequences that may wait; 0: queue_factor x the engine's max_num_seqs
  int64_t max_prompt_tokens = 0;       // of all live requests; 0: prompt_factor x the tokens the engine's blocks hold
  int prompt_factor = 8;
  int max_live_requests = 0;           // a fuse: running and waiting together; 0: the queue's bounds alone
  int max_wait_s = 120;                // a request that would wait longer, as things go, is refused; 0: no matter
  Duration overload_wait{};            // the same while all places are taken nearly all the time; 0: no matter
  TenantLimitsConfig tenants;          // of each API key
};

// What the engine said it can do at once.
struct EngineCapacity {
  int max_num_seqs = 1;
  int64_t num_cache_tokens = 0;        // blocks x block size; 0: unknown, prompt tokens are then not bounded
};

// Decides at the door: how many sequences and prompt tokens are live, and when a refused client should come again.
// Thread-safe.
class Admission {
 public:
  Admission(AdmissionConfig config, const Clock& clock, uint64_t jitter_seed);

  // A request's place; destroying it frees the place. Refers to the admission.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept { swap(other); }
    Slot& operator=(Slot&& other) noexcept {
      Slot(std::move(other)).swap(*this);
      return *this;
    }
    ~Slot();
    // The prompt's true length, once it is known.
    void correct_prompt_tokens(int64_t num_prompt_tokens);

   private:
    friend class Admission;
    void swap(Slot& other) noexcept;
    Admission* admission_ = nullptr;
    int num_sequences_ = 0;
    int64_t num_prompt_tokens_ = 0;
    std::string tenant_;
    TimePoint since_{};
  };

  // kOverloaded if the request does not fit beside those that live; kInvalidArgument if it would never fit.
  [[nodiscard]] Result<Slot> admit(int num_sequences, int64_t num_prompt_tokens, const EngineCapacity& capacity,
                                   const std::string& tenant = {});
  // From how fast requests finish while all places are taken, and how many sequences wait; jittered, 1 … 30.
  [[nodiscard]] int retry_after_s() const;
  [[nodiscard]] int num_live_requests() const;
  [[nodiscard]] std::optional<RateLimit> rate_limit(const std::string& tenant) const;

 private:
  void release(const Slot& slot);
  [[nodiscard]] bool is_full() const { return num_live_sequences_ >= max_num_seqs_; }
  // until so many have ended; none: unknown yet
  [[nodiscard]] std::optional<double> seconds_for(int num_sequences) const;
  [[nodiscard]] Status check_load(int num_sequences, int64_t num_prompt_tokens, const EngineCapacity& capacity) const;
  [[nodiscard]] Status check_wait(int num_sequences) const;

  const AdmissionConfig config_;
  const Clock& clock_;
  mutable std::mutex mutex_;           // guards what follows
  mutable std::mt19937_64 jitter_;
  int num_live_requests_ = 0;
  int num_live_sequences_ = 0;
  int64_t num_live_prompt_tokens_ = 0;
  int max_num_seqs_ = 1;
  TenantLimits tenants_;
  ServicePace pace_;                   // of sequences: full are those that run, as far as the front can tell
};

}  // namespace gale
