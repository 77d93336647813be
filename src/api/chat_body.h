#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

// What /v1/messages and /v1/responses share when they write their requests as the body of a chat.
namespace gale {

// The string at `key`; empty if it is absent or something else.
[[nodiscard]] std::string text_field(const Json& object, const char* key);
// The value at `key`, null if it is absent or the object is none.
[[nodiscard]] const Json& field_of(const Json& object, const char* key);
// Copies the fields that are there under the same name.
void copy_fields(const Json& from, std::initializer_list<const char*> keys, Json& to);
// Copies a field that is there under another name.
void copy_as(const Json& from, const char* key, const char* name, Json& to);

// An error about a chat's field as one about the field that it was made of, in param and text.
void rename_param(Error& error, std::string_view from, std::string_view to);

// kInvalidArgument that names the place.
[[nodiscard]] tl::unexpected<Error> refuse_at(std::string where, std::string_view message);

[[nodiscard]] Json function_tool_json(Json name, Json description, Json parameters);
[[nodiscard]] Json tool_call_json(Json id, Json name, std::string arguments);

// The text of a string, or of a list of parts that hold text; kInvalidArgument naming the place otherwise.
[[nodiscard]] Result<std::string> text_of_parts(const Json& content, const std::string& where,
                                                std::string_view separator);

}  // namespace gale
