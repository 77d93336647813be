#pragma once

#include <vector>

#include "config/option.h"

namespace gale {

// The rows, by who they concern; all_options() puts them together.
[[nodiscard]] std::vector<Option> engine_options();
[[nodiscard]] std::vector<Option> hub_options();
[[nodiscard]] std::vector<Option> server_options();
[[nodiscard]] std::vector<Option> ui_options();
[[nodiscard]] std::vector<Option> client_options();
[[nodiscard]] std::vector<Option> bench_options();

}  // namespace gale
