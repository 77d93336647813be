#pragma once

#include <string_view>

#include "tensor/device.h"
#include "tensor/tensor.h"

namespace gale {

struct OpTable;

// Is told which implementation ran, call by call; for tests and `inspect`. Must not allocate inside a captured step.
class OpTrace {
 public:
  virtual ~OpTrace() = default;
  virtual void ran(std::string_view op, std::string_view implementation) = 0;
};

// What every op call needs: the queue to run on, the implementations of this device, what the device can do.
struct OpContext {
  Stream& stream;
  const OpTable& table;
  const DeviceCaps& caps;
  OpTrace* trace = nullptr;   // nobody listens if null
};

// One implementation of an op. The first of a table's span that supports a call runs it.
template <class Args>
struct OpImpl {
  std::string_view name;                                    // "rms_norm_cpu", "rms_norm_sm80"
  bool (*supports)(const DeviceCaps&, const Args&);
  void (*run)(Stream&, const Args&);
};

// Rules of every op: outputs are arguments; it allocates nothing, synchronises nothing and reads nothing back, so that
// a step can be captured. Arguments are checked once, here, for all backends; a violated check is our bug (CHECK).
// Shapes: T = tokens of this step, S = sequences of this step, R = rows that need logits, H = hidden size,
// V = vocabulary. Activations have DeviceCaps::activation_dtype. On the CPU a row's result has the same bits for any T,
// chunking and thread count: each row is computed alone, in a fixed order.

}  // namespace gale
