#pragma once

#include "base/json.h"
#include "base/result.h"

namespace gale {

// OpenAI-shaped messages in the one form that templates render without surprises:
//   - content is a string: null or absent becomes "", text parts are joined with nothing between (so a tool message
//     that holds a list does not print as a Python list); `refusal` parts and field count as text;
//   - thinking parts and a `reasoning` field of assistant turns become `reasoning_content`;
//   - tool_calls[].function.arguments is an object: the JSON string is parsed, an empty one is {};
//   - role "developer" becomes "system", "function" becomes "tool"; keys whose value is null are dropped.
// Other keys pass unchanged. A part that is not text (image, video, audio, file) and arguments that are not a JSON
// object are errors whose `param` names the place, e.g. messages[1].tool_calls[0].function.arguments.
[[nodiscard]] Result<Json> normalise_messages(const Json& messages);

}  // namespace gale
