// Reads JSON lines on stdin, renders each with a chat template, writes one JSON line for each: for comparisons.
//   render_chat TEMPLATE_FILE
//   {"messages": [...], "tools": [...], "kwargs": {...}, "add_generation_prompt": true, "continue_final_message":
//   false,
//    "normalise": true}          all but messages may be missing
//   -> {"segments": [["text", true], ...]}, or {"error": "...", "param": "..."}; true: the template's own text

#include <iostream>
#include <string>

#include "json_lines.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "chat/chat_template.h"
#include "chat/messages.h"

namespace gale {
namespace {

Result<Json> render(const ChatTemplate& chat_template, const Json& request) {
  ChatInput input;
  input.messages = request.at("messages");
  if (request.value("normalise", true)) {
    GALE_ASSIGN(input.messages, normalise_messages(input.messages));
  }
  input.tools = request.value("tools", Json());
  input.template_kwargs = request.value("kwargs", Json());
  input.add_generation_prompt = request.value("add_generation_prompt", true);
  input.continue_final_message = request.value("continue_final_message", false);
  GALE_ASSIGN(const auto segments, chat_template.render(input));
  Json list = Json::array();
  for (const PromptSegment& segment : segments) list.push_back(Json::array({segment.text, segment.is_template_text}));
  return Json{{"segments", std::move(list)}};
}

int run(const std::string& path) {
  const auto source = read_file(path, size_t{1} << 24);
  const auto chat_template = source ? ChatTemplate::parse(*source, Json()) : tl::unexpected<Error>(source.error());
  if (!chat_template) {
    std::cerr << chat_template.error().message << "\n";
    return 3;
  }
  return answer_json_lines([&](const Json& request) {
    const auto rendered = render(**chat_template, request);
    return rendered ? *rendered : Json{{"error", rendered.error().message}, {"param", rendered.error().param}};
  });
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: render_chat TEMPLATE_FILE\n";
    return 2;
  }
  return gale::run(argv[1]);
}
