#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "scheduler/scheduler.h"

namespace gale {

class Device;
class Stream;
struct AttentionMetadata;
struct Tensor;

// Lays a plan out as the arrays that a forward pass reads, in memory that was taken once and goes to the device in one
// copy. Order of the rows: sequences of one token, the special ones (see build) behind the others, then pieces of
// prompts, short ones first, one that passes through some layers only behind all.
class BatchBuilder {
 public:
  // num_buffers: how many plans may be under way at once.
  [[nodiscard]] static Result<std::unique_ptr<BatchBuilder>> create(Device& device, const SchedulerConfig& config,
                                                                    int num_buffers);
  [[nodiscard]] static size_t num_bytes(const Device& device, const SchedulerConfig& config);
  ~BatchBuilder();

  // is_special[i]: the draw of plan.sequences[i] needs more than one kernel; its logits come behind all others.
  // num_rows > 0: a step of one token a sequence, padded to that many rows, at addresses that depend on num_rows alone.
  void build(Stream& stream, const Plan& plan, const Scheduler& scheduler, const std::vector<bool>& is_special,
             int num_rows);

  [[nodiscard]] const AttentionMetadata& attention() const;
  [[nodiscard]] const Tensor& token_ids() const;          // i32 [T]; -1 - slot: the token drawn last in that slot
  // i32 [R]: rows of hidden states whose logits are wanted; of a padded step they are its first R.
  [[nodiscard]] const Tensor& logit_rows() const;
  // Of these rows alone: WantedRows::attention. Nothing on a GPU, where the last layer's attention is some thousandth
  // of a step, and nothing where these are all rows.
  [[nodiscard]] const AttentionMetadata& logit_attention() const;
  // Index in the plan of each row of logits (without padding); the first num_plain_rows() of them are not special.
  [[nodiscard]] std::span<const size_t> drawn() const;
  [[nodiscard]] int num_plain_rows() const;
  // Row of the hidden states that belongs to the first scheduled token of plan.sequences[index].
  [[nodiscard]] int first_row(size_t index) const;

 private:
  struct State;
  explicit BatchBuilder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gale
