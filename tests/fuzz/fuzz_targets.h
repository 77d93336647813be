#pragma once

#include "fuzz_target.h"

namespace gale {

// One row each in fuzz_targets.cpp.
void fuzz_json(std::string_view input);
void fuzz_http_request(std::string_view input);
void fuzz_sse_client(std::string_view input);
void fuzz_hub(std::string_view input);
void fuzz_chat_request(std::string_view input);
void fuzz_completion_request(std::string_view input);
void fuzz_embedding_request(std::string_view input);
void fuzz_messages_request(std::string_view input);
void fuzz_responses_request(std::string_view input);
void fuzz_tokenize_request(std::string_view input);
void fuzz_safetensors(std::string_view input);
void fuzz_model_config(std::string_view input);
void fuzz_tokenizer_file(std::string_view input);
void fuzz_tokenizer_text(std::string_view input);
void fuzz_template_source(std::string_view input);
void fuzz_template_input(std::string_view input);
void fuzz_channel(std::string_view input);
void fuzz_command_line(std::string_view input);
void fuzz_config_file(std::string_view input);

}  // namespace gale
