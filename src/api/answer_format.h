#pragma once

#include "api/request_reader.h"
#include "chat/answer_rules.h"

namespace gale {

// What form the answer must have, from whichever field says so: response_format (text, json_object, json_schema,
// structural_tag); vLLM's structured_outputs and its older guided_*; SGLang's regex and ebnf; llama.cpp's grammar and
// json_schema. One at most. Fills rules.text_format and text_param.
void read_answer_format(RequestReader& reader, AnswerRules& rules);

}  // namespace gale
