#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "app/commands.h"
#include "app/exit_code.h"
#include "base/clock.h"
#include "base/json.h"
#include "bench/api_client.h"

namespace gale {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kPlain = "\x1b[0m";

// Prints an answer while it comes: reasoning dimmed on a terminal, in brackets elsewhere.
class Printer {
 public:
  explicit Printer(bool is_terminal) : is_terminal_(is_terminal) {}

  void reasoning(const std::string& text) {
    if (!is_reasoning_) std::fputs(is_terminal_ ? kDim : "[thinking] ", stdout);
    is_reasoning_ = true;
    put(text);
  }
  void content(const std::string& text) {
    end_reasoning();
    put(text);
  }
  void finish() {
    end_reasoning();
    put("\n");
  }

 private:
  void end_reasoning() {
    if (!is_reasoning_) return;
    is_reasoning_ = false;
    std::fputs(is_terminal_ ? kPlain : "", stdout);
    std::fputs("\n", stdout);
  }
  static void put(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
  bool is_terminal_;
  bool is_reasoning_ = false;
};

struct Answer {
  std::string content;
  std::string error;             // what a stream that broke off said
  int num_tokens = 0;
  double first_token_s = 0, total_s = 0;
};

std::string text_of(const Json& delta, const char* key) {
  const auto it = delta.find(key);
  return it != delta.end() && it->is_string() ? it->get<std::string>() : "";
}

// One event of the stream.
void take_chunk(const Json& chunk, Printer& printer, Answer& answer) {
  if (const auto error = chunk.find("error"); error != chunk.end()) answer.error = text_of(*error, "message");
  if (const auto usage = chunk.find("usage"); usage != chunk.end() && usage->is_object())
    answer.num_tokens = usage->value("completion_tokens", 0);
  const auto choices = chunk.find("choices");
  if (choices == chunk.end() || !choices->is_array() || choices->empty()) return;
  const Json& delta = choices->front().value("delta", Json::object());
  if (const std::string text = text_of(delta, "reasoning_content"); !text.empty()) printer.reasoning(text);
  const std::string text = text_of(delta, "content");
  if (text.empty()) return;
  printer.content(text);
  answer.content += text;
}

bool has_text(const Json& chunk) {
  const auto choices = chunk.find("choices");
  if (choices == chunk.end() || !choices->is_array() || choices->empty()) return false;
  const Json& delta = choices->front().value("delta", Json::object());
  return !text_of(delta, "content").empty() || !text_of(delta, "reasoning_content").empty();
}

class Conversation {
 public:
  Conversation(const ChatConfig& config, ServerUrl server, std::string model)
      : config_(config), model_(std::move(model)), client_(std::move(server)) {
    if (!config.system_prompt.empty()) messages_.push_back({{"role", "system"}, {"content", config.system_prompt}});
  }

  Status ask(const std::string& question) {
    messages_.push_back({{"role", "user"}, {"content", question}});
    GALE_ASSIGN(const Answer answer, stream_answer());
    messages_.push_back({{"role", "assistant"}, {"content", answer.content}});
    if (config_.stats && answer.total_s > 0)
      std::printf("(%d tokens, first after %.0f ms, %.1f tokens/s)\n", answer.num_tokens, answer.first_token_s * 1000,
                  answer.num_tokens / answer.total_s);
    return {};
  }
  void forget_question() { messages_.erase(messages_.size() - 1); }

 private:
  [[nodiscard]] std::string body() const {
    Json body{
        {"model", model_}, {"messages", messages_}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
    if (config_.max_tokens > 0) body["max_tokens"] = config_.max_tokens;
    if (config_.temperature >= 0) body["temperature"] = config_.temperature;
    if (!config_.think) body["chat_template_kwargs"] = {{"enable_thinking", false}};
    return dump_json(body);
  }
  Result<Answer> stream_answer() {
    const SteadyClock clock;
    const TimePoint begin = clock.now();
    Printer printer(::isatty(STDOUT_FILENO) == 1);
    Answer answer;
    EventReader events;
    const auto on_data = [&](std::string_view data) {
      const auto chunk = parse_json(data);
      if (!chunk) return data == "[DONE]";
      if (answer.first_token_s == 0 && has_text(*chunk)) answer.first_token_s = seconds(clock.now() - begin);
      take_chunk(*chunk, printer, answer);
      return true;
    };
    const ClientRequest request{
        .method = "POST", .target = "/chat/completions", .body = body(), .api_key = config_.api_key};
    const auto response =
        client_.stream(request, [&](std::string_view bytes) { return events.append(bytes, on_data); });
    printer.finish();
    if (!response) return tl::unexpected(response.error());
    if (response->status != 200)
      return fail(ErrorCode::kUnavailable, "the server answered {}: {}", response->status, error_text(*response));
    if (!answer.error.empty()) return fail(ErrorCode::kUnavailable, "the answer broke off: {}", answer.error);
    answer.total_s = seconds(clock.now() - begin);
    return answer;
  }

  const ChatConfig& config_;
  std::string model_;
  HttpClient client_;
  Json messages_ = Json::array();
};

Result<Conversation*> open_conversation(const ChatConfig& config, std::unique_ptr<Conversation>& holder) {
  GALE_ASSIGN(ServerUrl server, parse_server_url(config.url, config.tls));
  if (server.prefix.empty()) server.prefix = "/v1";   // an address as `gale serve` prints it
  if (config.wait_s > 0) GALE_TRY(wait_until_healthy(server, std::chrono::seconds(config.wait_s)));
  std::string model = config.model_name;
  if (model.empty()) {
    HttpClient client(server);
    GALE_ASSIGN(model, first_model(client, config.api_key));
  }
  holder = std::make_unique<Conversation>(config, server, std::move(model));
  return holder.get();
}

}  // namespace

int run_chat(const Config& config) {
  std::unique_ptr<Conversation> holder;
  const auto conversation = open_conversation(config.chat, holder);
  if (!conversation) return report(conversation.error());
  if (!config.chat.quick.empty()) {
    const Status said = (*conversation)->ask(config.chat.quick);
    return said ? 0 : report(said.error());
  }
  const bool is_terminal = ::isatty(STDIN_FILENO) == 1;
  if (is_terminal) std::puts("An empty line or Ctrl-D ends the conversation.");
  for (std::string line; ;) {
    if (is_terminal) std::fputs("> ", stdout), std::fflush(stdout);
    if (!std::getline(std::cin, line) || (is_terminal && line.empty())) return 0;
    if (line.empty()) continue;
    if (const Status said = (*conversation)->ask(line); !said) {
      (void)report(said.error());   // the conversation goes on without this question
      (*conversation)->forget_question();
    }
  }
}

}  // namespace gale
