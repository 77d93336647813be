#pragma once

#include <string>

#include "base/result.h"
#include "models/hf_config.h"

namespace gale {

// How a checkpoint says its linear weights are stored.
enum class StoredWeights : uint8_t {
  kPlain,    // no quantization_config
  kFp8Rows,  // e4m3 with a scale a row (or a matrix), activations quantised a token at run time: the official FP8
             // checkpoints
};

// Reads quantization_config, of the model or of its text half. kUnimplemented names what is there instead: FP8 in
// blocks, int4, …
[[nodiscard]] Result<StoredWeights> read_stored_weights(HfConfig& config, const std::string& folder);

}  // namespace gale
