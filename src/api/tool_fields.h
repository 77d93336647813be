#pragma once

#include "base/json.h"
#include "base/result.h"
#include "chat/answer_rules.h"

namespace gale {

// Tools as the client sent them; null if there are none. An empty list counts as none, an absent type as function.
[[nodiscard]] Result<Json> read_tools(const Json& body);

// tool_choice and parallel_tool_calls. `tools`: of read_tools(); those that tool_choice leaves out are taken away.
[[nodiscard]] Status read_tool_choice(const Json& body, Json& tools, AnswerRules& rules);

}  // namespace gale
