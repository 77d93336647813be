#pragma once

#include <concepts>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/json_memory.h"
#include "base/result.h"

namespace gale {

// A JSON tree that keeps the order of object keys (templates print tools with `tojson`).
// Numbers: integers that fit int64/uint64 stay exact, all others are doubles.
using Json = nlohmann::ordered_json;

// Does not compile: the library would make a JSON of the literal where nothing may be thrown, and without memory for it
// end the process. text_of (base/json_text.h) is compared instead.
template <std::same_as<Json> T>
bool operator==(const T& value, const char* literal) = delete;

struct JsonLimits {
  size_t max_depth = 128;
  size_t max_bytes = size_t{256} << 20;
};

// Strict RFC 8259: valid UTF-8, no duplicate keys, no trailing text. The error says what is wrong, in one line.
[[nodiscard]] Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

// Compact text; never throws: invalid UTF-8 in a string becomes U+FFFD.
[[nodiscard]] std::string dump_json(const Json& value);

// Appends `text` as a JSON string literal with quotes. `text` must be valid UTF-8.
void append_json_string(std::string& out, std::string_view text);

}  // namespace gale
