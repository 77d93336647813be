#include "backends/cpu/cpu_backend.h"
#include "support/harness.h"

namespace gale {

std::unique_ptr<Harness> make_harness() { return std::make_unique<Harness>(make_cpu_device(2), cpu_op_table()); }

}  // namespace gale
