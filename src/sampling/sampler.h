#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "request/messages.h"
#include "request/token_constraint.h"
#include "tensor/device.h"

namespace gale {

struct OpContext;

// What the draw of one row depends on, besides its logits. Nothing else: the same history gives the same token in any
// batch.
struct SamplerRow {
  const SamplingParams* sampling = nullptr;
  const StopCondition* stop = nullptr;
  std::span<const TokenId> tokens;     // prompt and output so far, as far as the host knows them
  int num_prompt_tokens = 0;
  int num_pending = 0;  // tokens behind them that steps under way draw; penalties need all, so 0 for them
  int slot = -1;                       // where in last_tokens() the drawn token goes; -1: nowhere
  TokenConstraint* constraint = nullptr;    // prepared for this token; null: any may come
  [[nodiscard]] int64_t position() const { return std::ssize(tokens) + num_pending; }   // index of the drawn token
};

struct SampledToken {
  TokenId token = 0;
  std::optional<TokenLogprobs>
      logprobs;  // if asked for: of the model's own distribution, before penalties and temperature
  std::optional<Error> error;               // of the constraint
  bool is_valid = true;                     // false: the logits are not numbers, or leave no token to draw
};

// Turns the parameters and histories of the sequences of a step into the arrays of ops/sample.h, runs the ops, reads
// back.
class Sampler {
 public:
  static constexpr int kMaxRows = 128;  // rows of sample() and logprobs_of() at once; more are for the caller to split
  static constexpr int kMaxLogprobs = 128;  // alternatives a token

  struct Options {
    int vocab_size = 0;
    int num_valid_tokens = 0;          // ids from here on are never drawn
    int max_model_len = 0;             // longest history
    int num_slots = 1;                 // of last_tokens(), and most rows of draw()
    int num_buffers = 1;               // how many draw()s may be under way at once
  };
  [[nodiscard]] static Result<std::unique_ptr<Sampler>> create(Device& device, const Options& options);
  // Device memory that create() takes.
  [[nodiscard]] static size_t num_bytes(const Options& options);
  ~Sampler();

  // What of a request this sampler cannot do; nullopt if it can.
  [[nodiscard]] static std::optional<Error> check(const SamplingParams& sampling, int vocab_size);

  // Whether draw() can do this row: neither masks, penalties and biases nor logprobs.
  [[nodiscard]] static bool is_plain(const SamplerRow& row);
  // Draws a token for each plain row without waiting. `logits` f32 [R, V] on the device; ids without text are
  // overwritten. What comes back is there once the stream has done all that is enqueued by then, until num_buffers more
  // draws; -1: no usable probabilities.
  [[nodiscard]] std::span<const TokenId> draw(OpContext& ops, const Tensor& logits, std::span<const SamplerRow> rows);
  // i32 [num_slots] on the device: the token drawn last in each slot.
  [[nodiscard]] const Tensor& last_tokens() const;

  // Draws a token a row. `logits` f32 [R, V] on the device are overwritten. Waits for the stream.
  [[nodiscard]] std::vector<SampledToken> sample(OpContext& ops, const Tensor& logits,
                                                 std::span<const SamplerRow> rows);

  // Logprobs of given tokens, one a row, with the num_top best. Waits for the stream.
  [[nodiscard]] std::vector<TokenLogprobs> logprobs_of(OpContext& ops, const Tensor& logits,
                                                       std::span<const TokenId> tokens, int num_top);

 private:
  struct State;
  explicit Sampler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gale
