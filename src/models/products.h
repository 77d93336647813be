#pragma once

#include <span>
#include <vector>

#include "models/model.h"

namespace gale {

// What a model multiplies by, from the shapes of its weights: each product once, in the order of the first.
[[nodiscard]] std::vector<ProductShape> products_of(std::span<const PackShape> weights, const ModelInfo& info);

}  // namespace gale
