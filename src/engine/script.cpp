#include "engine/script.h"

#include <algorithm>
#include <limits>

#include "base/json.h"
#include "base/mapped_file.h"

namespace gale {
namespace {

// Reads the keys of one object; whatever nobody asked for is an error.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) complain("", "an object");
  }

  const Json* find(const char* key) {
    known_.emplace_back(key);
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  template <class T>
  void read(const char* key, T& value) {
    const Json* json = find(key);
    if (json != nullptr && !convert(*json, value)) complain(key, expectation(value));
  }
  template <class T>
  void read(const char* key, std::optional<T>& value) {
    if (find(key) != nullptr) read(key, value.emplace());
  }
  [[nodiscard]] Status finish() {
    if (object_.is_object()) {
      for (const auto& [key, value] : object_.items()) {
        if (std::ranges::find(known_, key) == known_.end()) complain(key, "no such key");
      }
    }
    if (problem_.empty()) return {};
    return fail(ErrorCode::kInvalidArgument, "script: {}", problem_);
  }
  void complain(const std::string& key, const std::string& expected) {
    if (problem_.empty()) problem_ = fmt::format("{}{}{}: expected {}", place_, key.empty() ? "" : ".", key, expected);
  }

 private:
  static bool convert(const Json& json, bool& value) { return json.is_boolean() && (value = json.get<bool>(), true); }
  static bool convert(const Json& json, std::string& value) {
    return json.is_string() && (value = json.get<std::string>(), true);
  }
  static bool convert(const Json& json, double& value) {
    return json.is_number() && json.get<double>() >= 0 && (value = json.get<double>(), true);
  }
  template <class T>
    requires std::is_integral_v<T>
  static bool convert(const Json& json, T& value) {
    if (!json.is_number_integer() || json.get<int64_t>() < 0) return false;
    if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
    value = json.get<T>();
    return true;
  }
  static bool convert(const Json& json, std::vector<TokenId>& value) {
    return json.is_array() &&
           std::ranges::all_of(json, [&](const Json& item) { return convert(item, value.emplace_back()); });
  }
  static std::string expectation(bool) { return "true or false"; }
  static std::string expectation(const std::string&) { return "a string"; }
  static std::string expectation(double) { return "a number, not negative"; }
  static std::string expectation(const std::vector<TokenId>&) { return "a list of token ids"; }
  template <class T>
    requires std::is_integral_v<T>
  static std::string expectation(T) { return "an integer, not negative"; }

  const Json& object_;
  std::string place_, problem_;
  std::vector<std::string> known_;
};

void read_reply(ObjectReader& reader, ScriptReply& reply) {
  reader.read("tokens", reply.tokens);
  reader.read("echo_prompt", reply.echo_prompt);
  reader.read("repeat", reply.repeat);
  reader.read("stop", reply.stop);
  reader.read("delay_ms", reply.delay_ms);
  if (reply.tokens.empty() == !reply.echo_prompt) reader.complain("tokens", "tokens, or echo_prompt, and not both");
}

bool read_match(ObjectReader& reader, ScriptMatch& match) {
  reader.read("order", match.order);
  reader.read("prompt_contains", match.prompt_contains);
  reader.read("prompt_length", match.prompt_length);
  return match.order || match.prompt_length || !match.prompt_contains.empty();
}

void read_fault(ObjectReader& reader, ScriptFault& fault) {
  std::string kind;
  reader.read("kind", kind);
  constexpr std::string_view kKinds[] = {"nan", "fail", "abort", "exit", "hang"};   // in the enum's order
  const auto* found = std::ranges::find(kKinds, kind);
  if (found == std::end(kKinds)) return reader.complain("kind", "nan, fail, abort, exit or hang");
  fault.kind = static_cast<ScriptFaultKind>(found - std::begin(kKinds));
  reader.read("at_step", fault.at_step);
  reader.read("at_token", fault.at_token);
  reader.read("after_output", fault.after_output);
  const bool matches = read_match(reader, fault.match);
  fault.needs_sequence = matches || fault.after_output || fault.kind == ScriptFaultKind::kNan;
  reader.read("marker", fault.marker);
  reader.read("ms", fault.ms);
  reader.read("exit_code", fault.exit_code);
}

template <class Item, class Read>
Status read_list(const Json* list, const char* name, std::vector<Item>& items, Read read) {
  if (list == nullptr) return {};
  if (!list->is_array()) return fail(ErrorCode::kInvalidArgument, "script: {}: expected a list", name);
  for (size_t i = 0; i < list->size(); ++i) {
    ObjectReader reader((*list)[i], fmt::format("{}[{}]", name, i));
    read(reader, items.emplace_back());
    GALE_TRY(reader.finish());
  }
  return {};
}

Status check_tokens(const ScriptReply& reply, int vocab_size) {
  for (const TokenId token : reply.tokens) {
    if (token >= vocab_size)
      return fail(ErrorCode::kInvalidArgument, "script: token {} is not below vocab_size {}", token, vocab_size);
  }
  return {};
}

}  // namespace

bool ScriptMatch::holds(int64_t request_order, const std::vector<TokenId>& tokens, int num_prompt_tokens) const {
  if (order && *order != request_order) return false;
  if (prompt_length && *prompt_length != num_prompt_tokens) return false;
  if (prompt_contains.empty()) return true;
  const auto end = tokens.begin() + num_prompt_tokens;
  return std::search(tokens.begin(), end, prompt_contains.begin(), prompt_contains.end()) != end;
}

Result<Script> parse_script(std::string_view text) {
  GALE_ASSIGN(const Json json, parse_json(text));
  Script script;
  ObjectReader reader(json, "script");
  reader.read("model_name", script.model_name);
  reader.read("vocab_size", script.vocab_size);
  reader.read("max_model_len", script.max_model_len);
  reader.read("load_ms", script.load_ms);
  reader.read("step_ms", script.step_ms);
  reader.read("tokens_per_s", script.tokens_per_s);
  reader.read("prefill_tokens_per_s", script.prefill_tokens_per_s);
  if (script.vocab_size < 1) reader.complain("vocab_size", "at least 1");
  if (script.max_model_len < 2) reader.complain("max_model_len", "at least 2");
  const Json* card = reader.find("card");
  const Json* reply = reader.find("default");
  const Json* requests = reader.find("requests");
  const Json* faults = reader.find("faults");
  GALE_TRY(reader.finish());
  if (card != nullptr) {
    ObjectReader card_reader(*card, "card");
    card_reader.read("folder", script.card.emplace().folder);
    card_reader.read("total_bytes", script.card->total_bytes);
    card_reader.read("needed_bytes", script.card->needed_bytes);
    GALE_TRY(card_reader.finish());
  }
  script.default_reply.echo_prompt = reply == nullptr;
  if (reply != nullptr) {
    ObjectReader reply_reader(*reply, "default");
    read_reply(reply_reader, script.default_reply);
    GALE_TRY(reply_reader.finish());
  }
  GALE_TRY(read_list(requests, "requests", script.requests, [](ObjectReader& object, ScriptRequest& request) {
    read_match(object, request.match);
    read_reply(object, request.reply);
  }));
  GALE_TRY(read_list(faults, "faults", script.faults, read_fault));
  GALE_TRY(check_tokens(script.default_reply, script.vocab_size));
  for (const ScriptRequest& request : script.requests) GALE_TRY(check_tokens(request.reply, script.vocab_size));
  return script;
}

Result<Script> read_script(const std::string& path) {
  constexpr size_t kMaxBytes = 64 << 20;
  GALE_ASSIGN(const std::string text, read_file(path, kMaxBytes));
  Result<Script> script = parse_script(text);
  if (!script) script.error().message = fmt::format("{}: {}", path, script.error().message);
  return script;
}

TokenId scripted_token(const ScriptReply& reply, std::span<const TokenId> prompt,
                       std::span<const TokenId> stop_token_ids, int min_tokens, int64_t index) {
  const std::span<const TokenId> tokens = reply.echo_prompt ? prompt : std::span<const TokenId>(reply.tokens);
  const auto size = static_cast<int64_t>(tokens.size());
  const bool is_over = reply.repeat > 0 && index >= size * reply.repeat && index >= min_tokens;
  if (is_over && reply.stop && !stop_token_ids.empty()) return stop_token_ids.front();
  return tokens[static_cast<size_t>(index % size)];
}

}  // namespace gale
