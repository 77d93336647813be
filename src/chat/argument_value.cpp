#include "chat/argument_value.h"

#include "base/json_text.h"
#include "base/utf8.h"

namespace gale {
namespace {

constexpr int kMaxDepth = 64;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

struct Allowed {
  bool string = false;
  bool null = false;
};

// Follows "#/$defs/Name"; null if it leads nowhere.
const Json* resolve(const Json& root, const std::string& reference) {
  if (!reference.starts_with("#/")) return nullptr;
  const Json* at = &root;
  size_t begin = 2;
  while (begin <= reference.size()) {
    const size_t end = std::min(reference.find('/', begin), reference.size());
    const auto found = at->is_object() ? at->find(reference.substr(begin, end - begin)) : at->end();
    if (!at->is_object() || found == at->end()) return nullptr;
    at = &*found;
    begin = end + 1;
  }
  return at;
}

void note_type(const Json& type, Allowed& allowed) {
  allowed.string = allowed.string || text_of(type) == "string";
  allowed.null = allowed.null || text_of(type) == "null";
}

// Whether a schema lets a value be a string, and whether null.
void collect(const Json& schema, const Json& root, int depth, Allowed& allowed) {
  if (!schema.is_object() || depth > 8) return;   // deeper, or in a circle: says nothing
  if (const auto type = schema.find("type"); type != schema.end()) {
    if (!type->is_array()) note_type(*type, allowed);
    else
      for (const Json& one : *type) note_type(one, allowed);
  } else {
    Json values = schema.value("enum", Json::array());
    if (schema.contains("const")) values.push_back(schema["const"]);
    for (const Json& value : values) note_type(value.is_string() ? "string" : value.is_null() ? "null" : "", allowed);
  }
  if (const auto reference = schema.find("$ref"); reference != schema.end() && reference->is_string())
    if (const Json* target = resolve(root, reference->get<std::string>())) collect(*target, root, depth + 1, allowed);
  for (const char* key : {"anyOf", "oneOf", "allOf"})
    if (const auto options = schema.find(key); options != schema.end() && options->is_array())
      for (const Json& option : *options) collect(option, root, depth + 1, allowed);
}

ArgumentType type_in(const Json& schema, const Json& root) {
  Allowed allowed;
  collect(schema, root, 0, allowed);
  if (!allowed.string) return ArgumentType::kOther;
  return allowed.null ? ArgumentType::kNullableString : ArgumentType::kString;
}

// Recursive descent over a Python literal, writing JSON. Every function returns false on anything else.
class PythonLiteral {
 public:
  explicit PythonLiteral(std::string_view text) : text_(text) {}

  std::optional<std::string> translate() {
    if (!value(0)) return std::nullopt;
    skip_blanks();
    if (at_ != text_.size()) return std::nullopt;
    return std::move(out_);
  }

 private:
  void skip_blanks() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  bool take(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    return true;
  }

  bool word(std::string_view python, std::string_view json) {
    if (!take(python)) return false;
    out_ += json;
    return true;
  }

  bool value(int depth) {
    skip_blanks();
    if (at_ == text_.size() || depth > kMaxDepth) return false;
    if (word("True", "true") || word("False", "false") || word("None", "null")) return true;
    const char c = text_[at_];
    if (c == '\'' || c == '"') return string();
    if (c == '[') return list(']', depth);
    if (c == '(') return list(')', depth);
    if (c == '{') return dict(depth);
    return number();
  }

  bool number() {
    const size_t end = std::min(text_.find_first_of(" \t\r\n,]})", at_), text_.size());
    const std::string_view token = text_.substr(at_, end - at_);
    if (!parse_json(token)) return false;
    out_ += token;
    at_ = end;
    return true;
  }

  bool hex_escape(int digits, std::string& text) {
    uint32_t code_point = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const size_t digit =
          at_ < text_.size() ? std::string_view("0123456789abcdef").find(text_[at_] | 0x20) : std::string_view::npos;
      if (digit == std::string_view::npos) return false;
      code_point = code_point * 16 + static_cast<uint32_t>(digit);
    }
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) return false;
    append_utf8(text, code_point);
    return true;
  }

  bool escape(std::string& text) {
    static constexpr std::string_view kLetters = "\\'\"abfnrtv";
    static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (at_ == text_.size()) return false;
    const char c = text_[at_++];
    if (c == 'x') return hex_escape(2, text);
    if (c == 'u') return hex_escape(4, text);
    if (c == 'U') return hex_escape(8, text);
    const size_t known = kLetters.find(c);
    if (known != std::string_view::npos) {
      text += kMeanings[known];
    } else {
      text += {'\\', c};
    }
    return true;
  }

  bool string() {
    const char quote = text_[at_++];
    std::string text;
    while (at_ < text_.size() && text_[at_] != quote) {
      const char c = text_[at_++];
      if (c != '\\') {
        text += c;
      } else if (!escape(text)) {
        return false;
      }
    }
    if (at_ == text_.size()) return false;
    ++at_;
    append_json_string(out_, text);
    return true;
  }

  // Items up to `close`, a comma between them and perhaps after the last.
  template <class Item>
  bool items(char open, char close, char json_close, const Item& item) {
    ++at_;
    out_ += open;
    for (bool is_first = true;; is_first = false) {
      skip_blanks();
      if (take({&close, 1})) break;
      if (!is_first) out_ += ',';
      if (!item()) return false;
      skip_blanks();
      if (take(",")) continue;
      if (!take({&close, 1})) return false;
      break;
    }
    out_ += json_close;
    return true;
  }

  bool list(char close, int depth) {
    return items('[', close, ']', [&] { return value(depth + 1); });
  }

  bool dict(int depth) {
    return items('{', '}', '}', [&] {
      if (text_[at_] != '\'' && text_[at_] != '"') return false;
      if (!string()) return false;
      skip_blanks();
      if (!take(":")) return false;
      out_ += ':';
      return value(depth + 1);
    });
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

ArgumentTypes::ArgumentTypes(const Json& tools) {
  if (!tools.is_array()) return;
  for (const Json& tool : tools) {
    if (!tool.is_object()) continue;
    const Json function = tool.value("function", tool);   // also tools without the outer object
    if (!function.is_object() || !function.value("name", Json()).is_string()) continue;
    auto& arguments = types_[function["name"].get<std::string>()];
    const Json parameters = function.value("parameters", Json());
    const Json properties = parameters.is_object() ? parameters.value("properties", Json()) : Json();
    if (!properties.is_object()) continue;
    for (const auto& [name, schema] : properties.items()) arguments[name] = type_in(schema, parameters);
  }
}

ArgumentType ArgumentTypes::type_of(const std::string& tool, const std::string& argument) const {
  const auto arguments = types_.find(tool);
  if (arguments == types_.end()) return ArgumentType::kOther;
  const auto type = arguments->second.find(argument);
  return type == arguments->second.end() ? ArgumentType::kOther : type->second;
}

std::optional<std::string> python_literal_json(std::string_view text) { return PythonLiteral(text).translate(); }

std::string argument_json(std::string_view text) {
  const std::string_view value = trimmed(text);
  if (parse_json(value)) return std::string(value);   // what we would read ourselves when it comes back as history
  if (auto json = python_literal_json(value); json && parse_json(*json)) return *std::move(json);
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace gale
