#pragma once

#include <jinja/parser.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace gale {

// A parsed template, changed so that our functions see everything it prints, and its own texts can be marked:
//   text and string literals   become look-ups by number in `texts` (kTextFunction prints, kTextList looks up)
//   {{ value }}                becomes {{ kPrintFunction((value)) }}
//   loops                      call kStepFunction each round
//   macros                     call kEnterFunction first and kLeaveFunction last
struct TemplateProgram {
  std::vector<std::string> texts;
  jinja::program program;
};

inline constexpr const char* kTextFunction = "__gale_text";
inline constexpr const char* kTextList = "__gale_texts";
inline constexpr const char* kPrintFunction = "__gale_print";
inline constexpr const char* kStepFunction = "__gale_step";
inline constexpr const char* kEnterFunction = "__gale_enter";
inline constexpr const char* kLeaveFunction = "__gale_leave";

// The error is one line and says where.
[[nodiscard]] Result<TemplateProgram> parse_template(const std::string& source);

// An engine's message without the picture of the source around it, on one line.
[[nodiscard]] std::string engine_message(const std::string& what);

}  // namespace gale
