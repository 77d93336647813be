#include "app/commands.h"
#include "app/device.h"
#include "app/exit_code.h"
#include "tensor/device.h"

namespace gale {

int run_tune(const Config& config) { return report(open_cuda_device(config.engine).error()); }

}  // namespace gale
