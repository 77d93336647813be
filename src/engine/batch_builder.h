#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "scheduler/scheduler.h"

namespace gale {

class Device;
class Stream;
struct AttentionMetadata;
struct Tensor;

// Lays a plan out as the arrays that a forward pass reads, in memory that was taken once.
class BatchBuilder {
 public:
  [[nodiscard]] static Result<std::unique_ptr<BatchBuilder>> create(Device& device, const SchedulerConfig& config);
  [[nodiscard]] static size_t num_bytes(const SchedulerConfig& config);
  ~BatchBuilder();

  // The stream must have finished the step before. Sequences lie in the plan's order.
  void build(Stream& stream, const Plan& plan, const Scheduler& scheduler);
  [[nodiscard]] const AttentionMetadata& attention() const;
  [[nodiscard]] const Tensor& token_ids() const;          // i32 [T]
  // Row of the hidden states that belongs to the first scheduled token of plan.sequences[index].
  [[nodiscard]] int first_row(size_t index) const;

 private:
  struct State;
  explicit BatchBuilder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gale
