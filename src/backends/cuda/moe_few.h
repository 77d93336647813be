#pragma once

#include "ops/moe.h"
#include "tensor/device.h"

namespace gale::cuda {

// moe_down_combine for as few tokens as share no experts, in one kernel; operands as supports_stream_gemm wants them.
[[nodiscard]] bool is_for_few(const MoeDownCombineArgs& args);
void down_few(Stream& stream, const MoeDownCombineArgs& args);

}  // namespace gale::cuda
