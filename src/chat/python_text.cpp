#include "chat/python_text_internal.h"

#include <fmt/format.h>
#include <jinja/runtime.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace gale {
namespace {

using jinja::is_val;

// The members of an object as they are written: key text and value.
using Members = std::vector<std::pair<std::string, jinja::value>>;

Members members_of(const jinja::value& object) {
  Members members;
  for (const auto& [key, value] : object->as_ordered_object()) members.emplace_back(key->as_string().str(), value);
  return members;
}

std::string quoted(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + quote;
}

void append_unicode_escape(std::string& out, uint32_t code_point) {
  if (code_point < 0x10000) {
    out += fmt::format("\\u{:04x}", code_point);
  } else {
    const uint32_t rest = code_point - 0x10000;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
  }
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  std::string write(const jinja::value& value) {
    append(value, 0);
    return std::move(out_);
  }

 private:
  void append(const jinja::value& value, int level);
  void append_string(std::string_view text);
  void append_array(const jinja::value& value, int level);
  void append_object(const jinja::value& value, int level);
  void break_line(int level) {
    if (style_.indent < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(level) * style_.indent, ' ');
  }

  const JsonStyle& style_;
  std::string out_;
};

void JsonWriter::append(const jinja::value& value, int level) {
  if (is_val<jinja::value_string>(value)) {
    append_string(value->as_string().str());
  } else if (is_val<jinja::value_bool>(value)) {
    out_ += value->as_bool() ? "true" : "false";
  } else if (is_val<jinja::value_int>(value) || is_val<jinja::value_float>(value)) {
    out_ += python_repr(value);
  } else if (is_val<jinja::value_array>(value)) {
    append_array(value, level);
  } else if (is_val<jinja::value_object>(value)) {
    append_object(value, level);
  } else if (value->is_none()) {
    out_ += "null";
  } else {
    throw jinja::raised_exception("tojson: a value of type " + value->type() + " has no JSON form");
  }
}

void JsonWriter::append_string(std::string_view text) {
  out_ += '"';
  while (!text.empty()) {
    const CodePoint code_point = decode_utf8(text);
    const uint32_t c = code_point.value;
    static constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    static constexpr std::string_view kLetters = "\"\\bfnrt";
    const size_t at = c < 0x80 ? kShort.find(static_cast<char>(c)) : std::string_view::npos;
    if (at != std::string_view::npos) {
      out_ += {'\\', kLetters[at]};
    } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7E && c != kInvalidCodePoint)) {
      append_unicode_escape(out_, c);
    } else {
      out_ += text.substr(0, code_point.length);
    }
    text.remove_prefix(code_point.length);
  }
  out_ += '"';
}

void JsonWriter::append_array(const jinja::value& value, int level) {
  const auto& items = value->as_array();
  out_ += '[';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out_ += style_.item_separator;
    break_line(level + 1);
    append(items[i], level + 1);
  }
  if (!items.empty()) break_line(level);
  out_ += ']';
}

void JsonWriter::append_object(const jinja::value& value, int level) {
  Members members = members_of(value);
  if (style_.sort_keys)
    std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  out_ += '{';
  for (size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out_ += style_.item_separator;
    break_line(level + 1);
    append_string(members[i].first);
    out_ += style_.key_separator;
    append(members[i].second, level + 1);
  }
  if (!members.empty()) break_line(level);
  out_ += '}';
}

}  // namespace

std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const double size = std::fabs(value);   // Python switches to exponents below 1e-4 and from 1e16 on
  const auto format =
      size != 0 && (size < 1e-4 || size >= 1e16) ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string python_repr(const jinja::value& value) {
  if (is_val<jinja::value_string>(value)) return quoted(value->as_string().str());
  if (typeid(*value) == typeid(jinja::value_float_t)) return python_float(value->as_float());   // else it prints itself
  if (is_val<jinja::value_array>(value)) {
    std::string out;
    for (const auto& item : value->as_array()) out += (out.empty() ? "" : ", ") + python_repr(item);
    if (!is_val<jinja::value_tuple>(value)) return "[" + out + "]";
    return "(" + out + (value->as_array().size() == 1 ? ",)" : ")");
  }
  if (is_val<jinja::value_object>(value)) {
    std::string out;
    for (const auto& [key, member] : members_of(value))
      out += (out.empty() ? "" : ", ") + quoted(key) + ": " + python_repr(member);
    return "{" + out + "}";
  }
  if (value->is_undefined()) return "Undefined";
  return value->as_string().str();
}

std::string python_json(const jinja::value& value, const JsonStyle& style) { return JsonWriter(style).write(value); }

}  // namespace gale
