#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace gale {

// Blanks between two parts of JSON that is enforced: a model must not print them for ever. Before the string of a tuple
// xgrammar looks at nearly the whole vocabulary for each of them: more than this, and a mask takes over 1 ms of 151k
// tokens (perf/structured-output.md).
inline constexpr int kMaxJsonBlanks = 12;

// What is done with a part of a JSON schema that token masks cannot enforce.
enum class SchemaDemand {
  kAll,    // refused by name: an answer must be what the schema says
  kShape,  // left out: types, names and required properties are what counts (arguments of tools that are not `strict`)
};

// A schema in the form that xgrammar enforces exactly. What a schema leaves open is closed where JSON Schema lets an
// answer choose (objects with declared properties have no others unless additionalProperties says so); what xgrammar
// would pass over is refused, naming the place below `where` in `param`. Supported: docs/structured-output.md.
[[nodiscard]] Result<Json> prepare_schema(const Json& schema, const std::string& where, SchemaDemand demand);

}  // namespace gale
