#pragma once

#include <cuda_runtime.h>

#include <optional>
#include <string>

namespace gale::cuda {

// Why there is no card, from what CUDA says; driver: what cudaDriverGetVersion says, 0 without a driver.
[[nodiscard]] std::string explain_no_device(cudaError_t error, int driver);

// Whether this build holds kernels for the current card's architecture.
[[nodiscard]] bool current_card_has_kernels();

// Why a card cannot be used; nothing if it can.
[[nodiscard]] std::optional<std::string> reason_against_card(const std::string& name, int major, int minor,
                                                             bool has_kernels);

}  // namespace gale::cuda
