#include "tokenizer/tokenizer_file.h"

#include <simdjson.h>

#include "base/log.h"
#include "base/mapped_file.h"

namespace gale {
namespace {

using Element = simdjson::dom::element;
using simdjson::dom::array;
using simdjson::dom::object;

constexpr size_t kMaxFileBytes = size_t{512} << 20;

// Reads one file; every failure is one line "path: key: what is wrong".
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}
  Result<TokenizerFile> read();

 private:
  template <class... Args>
  tl::unexpected<Error> wrong(std::string_view key, fmt::format_string<Args...> format, Args&&... args) const {
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    return fail(ErrorCode::kCorrupt, "{}: {}: {}", path_, escape_control(key), escape_control(what));
  }

  // The value at `key`; JSON null counts as absent. Returns whether there is one.
  static bool find(const object& parent, std::string_view key, Element& out) {
    return parent.at_key(key).get(out) == simdjson::SUCCESS && !out.is_null();
  }

  // Absent: `otherwise`. `where` is the parent's path in the file, for the message.
  Result<bool> flag(const object& parent, std::string_view where, std::string_view key, bool otherwise) const {
    Element element;
    if (!find(parent, key, element)) return otherwise;
    bool value = false;
    if (element.get(value) != simdjson::SUCCESS)
      return wrong(fmt::format("{}.{}", where, key), "expected true or false");
    return value;
  }

  Result<std::string> text(const object& parent, std::string_view where, std::string_view key) const {
    Element element;
    std::string_view value;
    if (!find(parent, key, element) || element.get(value) != simdjson::SUCCESS)
      return wrong(fmt::format("{}.{}", where, key), "expected a string");
    return std::string(value);
  }

  Result<TokenId> token_id(const Element& element, std::string_view where) const {
    int64_t value = 0;
    if (element.get(value) != simdjson::SUCCESS || value < 0 || value > kMaxTokenId)
      return wrong(where, "expected a token id between 0 and {}", kMaxTokenId);
    return static_cast<TokenId>(value);
  }

  Status read_model(const object& root);
  Status check_model_kind(const object& model) const;
  Status read_vocabulary(const object& model);
  Status read_merges(const object& model);
  Status read_added_tokens(const object& root);
  Result<AddedToken> read_added_token(const Element& element, const std::string& where) const;
  Status read_normalizer(const object& root);
  Status read_pre_tokenizer(const object& root);
  Status read_split(const object& step, const std::string& where);
  Status read_byte_level(const object& step, const std::string& where);
  Status check_decoder(const object& root) const;
  Result<std::vector<object>> steps(const object& root, std::string_view key, std::string_view list_key) const;

  static constexpr int64_t kMaxTokenId = (1 << 24) - 1;   // far above any vocabulary; keeps tables small
  const std::string& path_;
  TokenizerFile file_;
};

Status Reader::check_model_kind(const object& model) const {
  Element element;
  if (find(model, "type", element)) {   // old files lack it
    GALE_ASSIGN(const std::string type, text(model, "model", "type"));
    if (type != "BPE") return wrong("model.type", "expected \"BPE\", got \"{}\"", type);
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    std::string_view value;
    if (find(model, key, element) && (element.get(value) != simdjson::SUCCESS || !value.empty()))
      return wrong(fmt::format("model.{}", key), "not supported");
  }
  double dropout = 0;
  if (find(model, "dropout", element) && (element.get(dropout) != simdjson::SUCCESS || dropout != 0))
    return wrong("model.dropout", "not supported");
  GALE_ASSIGN(const bool byte_fallback, flag(model, "model", "byte_fallback", false));
  if (byte_fallback) return wrong("model.byte_fallback", "expected false: this is not a byte-level vocabulary");
  return {};
}

Status Reader::read_vocabulary(const object& model) {
  Element element;
  object vocabulary;
  if (!find(model, "vocab", element) || element.get(vocabulary) != simdjson::SUCCESS)
    return wrong("model.vocab", "expected an object");
  file_.vocabulary.reserve(vocabulary.size());
  for (const auto& field : vocabulary) {
    int64_t id = 0;
    if (field.value.get(id) != simdjson::SUCCESS || id < 0 || id > kMaxTokenId)
      return wrong(fmt::format("model.vocab[\"{}\"]", field.key), "expected a token id between 0 and {}", kMaxTokenId);
    file_.vocabulary.emplace_back(std::string(field.key), static_cast<TokenId>(id));
  }
  return {};
}

Status Reader::read_merges(const object& model) {
  Element element;
  array merges;
  if (!find(model, "merges", element) || element.get(merges) != simdjson::SUCCESS)
    return wrong("model.merges", "expected an array");
  file_.merges.reserve(merges.size());
  for (const Element merge : merges) {
    std::string_view left, right;
    array parts;
    bool is_pair = false;
    if (merge.get(left) == simdjson::SUCCESS) {   // "left right"; tokens in the byte alphabet hold no space
      const size_t space = left.find(' ');
      if (space != std::string_view::npos) {
        right = left.substr(space + 1);
        left = left.substr(0, space);
        is_pair = right.find(' ') == std::string_view::npos;
      }
    } else if (merge.get(parts) == simdjson::SUCCESS && parts.size() == 2) {
      is_pair = parts.at(0).get(left) == simdjson::SUCCESS && parts.at(1).get(right) == simdjson::SUCCESS;
    }
    if (!is_pair || left.empty() || right.empty())
      return wrong(fmt::format("model.merges[{}]", file_.merges.size()), "expected two tokens");
    file_.merges.emplace_back(std::string(left), std::string(right));
  }
  return {};
}

Status Reader::read_model(const object& root) {
  Element element;
  object model;
  if (!find(root, "model", element) || element.get(model) != simdjson::SUCCESS)
    return wrong("model", "expected an object");
  GALE_TRY(check_model_kind(model));
  GALE_ASSIGN(file_.ignore_merges, flag(model, "model", "ignore_merges", false));
  GALE_TRY(read_vocabulary(model));
  return read_merges(model);
}

Result<AddedToken> Reader::read_added_token(const Element& element, const std::string& where) const {
  object entry;
  Element id;
  if (element.get(entry) != simdjson::SUCCESS) return wrong(where, "expected an object");
  if (!find(entry, "id", id)) return wrong(where + ".id", "missing");
  AddedToken token{};
  GALE_ASSIGN(token.id, token_id(id, where + ".id"));
  GALE_ASSIGN(token.text, text(entry, where, "content"));
  GALE_ASSIGN(token.is_special, flag(entry, where, "special", false));
  GALE_ASSIGN(token.is_normalized, flag(entry, where, "normalized", !token.is_special));
  GALE_ASSIGN(token.strips_left, flag(entry, where, "lstrip", false));
  GALE_ASSIGN(token.strips_right, flag(entry, where, "rstrip", false));
  GALE_ASSIGN(const bool single_word, flag(entry, where, "single_word", false));
  if (single_word) return wrong(where + ".single_word", "true is not supported");
  return token;
}

Status Reader::read_added_tokens(const object& root) {
  Element element;
  array tokens;
  if (!find(root, "added_tokens", element)) return {};
  if (element.get(tokens) != simdjson::SUCCESS) return wrong("added_tokens", "expected an array");
  size_t index = 0;
  for (const Element entry : tokens) {
    GALE_ASSIGN(AddedToken token, read_added_token(entry, fmt::format("added_tokens[{}]", index++)));
    if (!token.text.empty()) file_.added_tokens.push_back(std::move(token));
  }
  return {};
}

// The steps of a component: a Sequence's list, or the component itself as the only one; none if it is null.
Result<std::vector<object>> Reader::steps(const object& root, std::string_view key, std::string_view list_key) const {
  Element element;
  if (!find(root, key, element)) return std::vector<object>{};
  object component;
  if (element.get(component) != simdjson::SUCCESS) return wrong(key, "expected an object");
  GALE_ASSIGN(const std::string type, text(component, key, "type"));
  if (type != "Sequence") return std::vector<object>{component};
  array list;
  if (!find(component, list_key, element) || element.get(list) != simdjson::SUCCESS)
    return wrong(fmt::format("{}.{}", key, list_key), "expected an array");
  std::vector<object> out;
  for (const Element step : list) {
    object value;
    if (step.get(value) != simdjson::SUCCESS)
      return wrong(fmt::format("{}.{}[{}]", key, list_key, out.size()), "expected an object");
    out.push_back(value);
  }
  return out;
}

Status Reader::read_normalizer(const object& root) {
  GALE_ASSIGN(const std::vector<object> list, steps(root, "normalizer", "normalizers"));
  for (const object& step : list) {
    GALE_ASSIGN(const std::string type, text(step, "normalizer", "type"));
    if (type != "NFC") return wrong("normalizer", "type \"{}\" is not supported (known: NFC)", type);
    file_.normal_form = NormalForm::kNfc;
  }
  return {};
}

Status Reader::read_split(const object& step, const std::string& where) {
  GALE_ASSIGN(const std::string behavior, text(step, where, "behavior"));
  if (behavior != "Isolated") return wrong(where + ".behavior", "\"{}\" is not supported (known: Isolated)", behavior);
  Element element;
  object pattern;
  if (!find(step, "pattern", element) || element.get(pattern) != simdjson::SUCCESS)
    return wrong(where + ".pattern", "expected an object");
  GALE_ASSIGN(std::string regex, text(pattern, where + ".pattern", "Regex"));
  file_.split_patterns.push_back(std::move(regex));
  return {};
}

Status Reader::read_byte_level(const object& step, const std::string& where) {
  GALE_ASSIGN(const bool add_prefix_space, flag(step, where, "add_prefix_space", true));
  if (add_prefix_space) return wrong(where + ".add_prefix_space", "true is not supported");
  GALE_ASSIGN(const bool use_regex, flag(step, where, "use_regex", true));
  if (use_regex) file_.split_patterns.emplace_back(kGpt2Pattern);
  return {};
}

Status Reader::read_pre_tokenizer(const object& root) {
  GALE_ASSIGN(const std::vector<object> list, steps(root, "pre_tokenizer", "pretokenizers"));
  bool is_byte_level = false;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("pre_tokenizer.pretokenizers[{}]", i);
    GALE_ASSIGN(const std::string type, text(list[i], where, "type"));
    if (is_byte_level) return wrong(where, "nothing may follow ByteLevel");
    if (type == "Split") {
      GALE_TRY(read_split(list[i], where));
    } else if (type == "ByteLevel") {
      GALE_TRY(read_byte_level(list[i], where));
      is_byte_level = true;
    } else {
      return wrong(where, "type \"{}\" is not supported (known: Split, ByteLevel)", type);
    }
  }
  if (!is_byte_level) return wrong("pre_tokenizer", "expected a ByteLevel step: only byte-level BPE is supported");
  return {};
}

Status Reader::check_decoder(const object& root) const {
  GALE_ASSIGN(const std::vector<object> list, steps(root, "decoder", "decoders"));
  if (list.size() != 1) return wrong("decoder", "expected one ByteLevel step");
  GALE_ASSIGN(const std::string type, text(list[0], "decoder", "type"));
  if (type != "ByteLevel") return wrong("decoder", "expected ByteLevel, got \"{}\"", type);
  return {};
}

Result<TokenizerFile> Reader::read() {
  GALE_ASSIGN(const std::string bytes, read_file(path_, kMaxFileBytes));
  simdjson::dom::parser parser;
  Element element;
  const auto error = parser.parse(bytes).get(element);
  if (error == simdjson::MEMALLOC)
    return fail(ErrorCode::kOutOfMemory, "{}: no memory to parse {} bytes of JSON", path_, bytes.size());
  if (error != simdjson::SUCCESS)
    return fail(ErrorCode::kCorrupt, "{}: invalid JSON: {}", path_, simdjson::error_message(error));
  object root;
  if (element.get(root) != simdjson::SUCCESS) return fail(ErrorCode::kCorrupt, "{}: expected an object", path_);
  GALE_TRY(read_model(root));
  GALE_TRY(read_added_tokens(root));
  GALE_TRY(read_normalizer(root));
  GALE_TRY(read_pre_tokenizer(root));
  GALE_TRY(check_decoder(root));
  return std::move(file_);
}

}  // namespace

Result<TokenizerFile> read_tokenizer_file(const std::string& path) { return Reader(path).read(); }

}  // namespace gale
