#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "base/token.h"

namespace gale {

struct TokenMask {
  std::span<const uint32_t>
      words;  // bit t % 32 of word t / 32 allows token t, for every id of the model; empty: all are allowed
  std::optional<Error> error;          // the sequence cannot go on
  [[nodiscard]] bool allows(TokenId token) const {
    return words.empty() || (words[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0;
  }
};

// Which tokens may come next in one sequence, as a grammar or a limit of thinking says. A function of the output so far
// and nothing else. For one thread; the work itself may be done on others.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Begins to compute the mask of the token behind `output`: the sequence's output so far, which only ever grows.
  virtual void prepare(std::span<const TokenId> output) = 0;
  // That mask, waiting for it. Valid until the next prepare().
  [[nodiscard]] virtual const TokenMask& mask() = 0;
};

}  // namespace gale
