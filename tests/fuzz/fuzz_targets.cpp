#include "fuzz_targets.h"

#include <array>

namespace gale {
namespace {

constexpr std::array kTargets = {
    FuzzTarget{"json", fuzz_json},
    FuzzTarget{"http_request", fuzz_http_request},
    FuzzTarget{"sse_client", fuzz_sse_client},
    FuzzTarget{"hub", fuzz_hub},
    FuzzTarget{"chat_request", fuzz_chat_request},
    FuzzTarget{"completion_request", fuzz_completion_request},
    FuzzTarget{"embedding_request", fuzz_embedding_request},
    FuzzTarget{"messages_request", fuzz_messages_request},
    FuzzTarget{"responses_request", fuzz_responses_request},
    FuzzTarget{"tokenize_request", fuzz_tokenize_request},
    FuzzTarget{"safetensors", fuzz_safetensors},
    FuzzTarget{"model_config", fuzz_model_config},
    FuzzTarget{"tokenizer_file", fuzz_tokenizer_file},
    FuzzTarget{"tokenizer_text", fuzz_tokenizer_text},
    FuzzTarget{"template_source", fuzz_template_source},
    FuzzTarget{"template_input", fuzz_template_input},
    FuzzTarget{"channel", fuzz_channel},
    FuzzTarget{"command_line", fuzz_command_line},
    FuzzTarget{"config_file", fuzz_config_file},
};

}  // namespace

std::span<const FuzzTarget> fuzz_targets() { return kTargets; }

}  // namespace gale
