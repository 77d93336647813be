#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kv_cache/kv_cache.h"
#include "request/messages.h"
#include "request/token_constraint.h"
#include "scheduler/plan.h"

namespace gale {

// A live sequence: what the front submitted, what came out since, and where it stands.
//
//   0 ........ num_prompt_tokens ................ tokens.size() | + num_pending: drawn by plans that are not committed
//   yet 0 ... num_computed ... | to compute: 1 while decoding, more while prefilling
struct Sequence {
  Submit request;                      // `prompt` and `output` have moved into `tokens`
  std::vector<TokenId> tokens;         // prompt, output
  int num_prompt_tokens = 0;
  uint64_t arrival = 0;                // running number
  std::unique_ptr<TokenConstraint> constraint;   // null: any token may come; the scheduler only keeps it

  std::optional<SlotId> slot;          // set while it runs
  uint64_t admission = 0;              // running number of the time it got its slot
  BlockTable table;
  int num_computed = 0;                // in the cache once the plans so far are done
  int num_pending = 0;
  bool was_planned = false;            // since it got its slot
  int num_layered_tokens = 0;          // of a piece behind the computed that goes by layers (LayerSlice); 0: none
  int num_layers_done = 0;             // of that piece, once the plans so far are done
  bool awaits_drafts = false;          // how many of its drafts hold is not known before the plan is committed
  std::vector<TokenId> drafts;

  std::optional<int> num_cached_tokens;     // prompt tokens found in the prefix cache when it first ran
  bool cached_tokens_told = false;
  int num_prompt_logprobs_told = 1;         // prompt positions whose logprobs are out; the first token has none
  bool was_preempted_without_progress = false;

  [[nodiscard]] int num_tokens() const { return static_cast<int>(tokens.size()); }
  [[nodiscard]] int num_output_tokens() const { return num_tokens() - num_prompt_tokens; }
  [[nodiscard]] int num_expected() const { return num_tokens() + num_pending; }
  [[nodiscard]] int num_missing() const {
    return num_expected() - num_computed;
  }  // not yet in the cache, nor in a plan
  [[nodiscard]] std::span<const TokenId> output() const {
    return std::span(tokens).subspan(static_cast<size_t>(num_prompt_tokens));
  }
  [[nodiscard]] bool is_pooled() const { return request.pooling != Pooling::kNone; }
  // Prompt tokens found in the prefix cache would be missing in what the client is told.
  [[nodiscard]] bool needs_all_rows() const {
    return request.pooling == Pooling::kMean ||
           (wants_prompt_logprobs() && num_prompt_logprobs_told < num_prompt_tokens);
  }
  [[nodiscard]] bool wants_prompt_logprobs() const { return request.sampling.num_prompt_logprobs >= 0; }
};

}  // namespace gale
