#pragma once

#include "layers/weight_scope.h"
#include "ops/norm.h"

namespace gale {

// RMSNorm over the last axis; the fused forms belong to the decoder, which knows what comes before.
struct RmsNorm {
  RmsNorm(const WeightScope& scope, std::string_view name, int64_t size, float epsilon)
      : weight(scope.owned_by("norm").vector({scope.owned_by("norm").claim(std::string(name) + ".weight", {size})})),
        eps(epsilon) {}

  const Tensor* weight;   // [size]
  float eps;
};

}  // namespace gale
