#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/strong_id.h"
#include "kv_cache/block_pool.h"
#include "request/messages.h"

namespace gale {

// A running sequence's place: 0 … max_num_seqs - 1, kept until it finishes or is preempted.
using SlotId = StrongId<struct SlotIdTag, int32_t>;

// Prompt positions whose logprobs this step computes: target tokens first … end - 1; empty if equal.
struct PromptRange {
  int first = 0, end = 0;
  [[nodiscard]] bool is_empty() const { return first >= end; }
  bool operator==(const PromptRange&) const = default;
};

// The layers that a piece of a prompt passes through in a step: first … end - 1. The steps before took it through those
// before; all slices of a piece have the same tokens, and what comes behind the last layer comes out of the last slice.
struct LayerSlice {
  int first = 0, end = 0;
  bool is_last = true;
  bool operator==(const LayerSlice&) const = default;
};

struct ScheduledSequence {
  SlotId slot;
  RequestId id;
  uint64_t admission = 0;              // since when it has the slot: results for an earlier time are void
  bool is_new = false;                 // the first step in this slot: whoever keeps state by slot starts afresh
  int num_computed_tokens = 0;         // already in the cache
  int num_scheduled_tokens =
      0;  // of this step; they follow the computed ones; drafts are the last of them.
          // A decoding sequence's one token may still be in the making: drawn by the plan before.
  std::vector<TokenId> draft_tokens;   // guesses behind the last known token
  bool wants_token = false;            // the last known token is among the scheduled: up to 1 + drafts tokens come out
  bool wants_pooled = false;           // the prompt's last token is scheduled, and its pooled vector comes out
  PromptRange prompt_logprobs;
  std::vector<BlockId> new_blocks;     // appended to its block table for this step
  std::optional<LayerSlice> layers;    // only of a plan's last sequence; nothing: all layers
  // Scheduled tokens without the drafts behind them.
  [[nodiscard]] int num_known_tokens() const {
    return num_scheduled_tokens - static_cast<int>(draft_tokens.size());
  }
  // Are the scheduled tokens in the cache of all layers after this step?
  [[nodiscard]] bool is_complete() const { return !layers || layers->is_last; }
  bool operator==(const ScheduledSequence&) const = default;
};

// One step: which sequences compute which tokens.
struct Plan {
  uint64_t step = 0;
  std::vector<ScheduledSequence> sequences;
  int num_tokens = 0;                  // sum of num_scheduled_tokens
  int token_budget = 0;                // what it may be at most
  std::vector<RequestId> preempted;    // lost their blocks to others; they wait to be recomputed
  bool operator==(const Plan&) const = default;

  // The piece that passes through some layers only, or null.
  [[nodiscard]] const ScheduledSequence* layered() const {
    return sequences.empty() || !sequences.back().layers ? nullptr : &sequences.back();
  }

  // Without those of a piece that has layers left.
  [[nodiscard]] int num_completed_tokens() const {
    const ScheduledSequence* piece = layered();
    return num_tokens - (piece != nullptr && !piece->is_complete() ? piece->num_scheduled_tokens : 0);
  }

  // Those of sequences that compute one token and guesses behind it; the other tokens are prompts'.
  [[nodiscard]] int num_answer_tokens() const {
    int count = 0;
    for (const ScheduledSequence& scheduled : sequences) {
      if (scheduled.num_known_tokens() == 1) count += scheduled.num_scheduled_tokens;
    }
    return count;
  }
};

// What a step gave one scheduled sequence.
struct SequenceResult {
  std::vector<TokenId> tokens;                   // empty if no token was wanted; else 0 … 1 + drafts
  std::vector<TokenLogprobs> logprobs;           // one for each token if asked for
  std::vector<TokenLogprobs> prompt_logprobs;    // one for each position of the plan's range
  std::vector<TokenId> next_drafts;              // guesses for the next step
  std::vector<float> pooled;                     // if the plan wanted it
  std::optional<Error> error;                    // this sequence failed; the others are fine
};

}  // namespace gale
