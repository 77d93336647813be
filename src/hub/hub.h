#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "hub/hub_config.h"

namespace gale {

// "zai-org/GLM-4.7-Flash": an owner and a name, and no path that leads anywhere.
[[nodiscard]] bool is_hub_name(std::string_view text);

struct HubWish {
  std::string name;          // as is_hub_name takes it
  bool has_weights = true;   // false: only what describes the model
  std::function<bool()> is_cancelled = [] { return false; };
};

// The folder of a model in the cache that huggingface_hub's Python tools share, after downloading what is missing of
// the files that gale reads. A download goes on where an earlier one was cut, by whomever; what arrives is checked
// against the Hub's hash. Where the Hub cannot be reached, a model that is whole in the cache does. Errors name what to
// do: kNotFound (no such model, revision or access to it), kUnavailable, kCorrupt, kCancelled.
[[nodiscard]] Result<std::string> find_hub_model(const HubConfig& config, const HubWish& wish);

}   // namespace gale
