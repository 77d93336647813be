#include "grammar/grammar.h"

#include <xgrammar/xgrammar.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"

namespace gale {

extern thread_local std::string* xgrammar_warnings;   // cmake/stub/xgrammar_log.cpp

struct GrammarTokens::Parts {
  xgrammar::TokenizerInfo info;
  std::vector<char> is_control, is_blank;   // by id
};

struct Grammar::Parts {
  xgrammar::CompiledGrammar compiled;
};

struct GrammarState::Parts {
  xgrammar::GrammarMatcher matcher;
};

namespace {

constexpr std::string_view kBlanks = " \t\r\n";
// No text is matched by a byte that UTF-8 does not have.
constexpr char kNoText = '\xFF';
constexpr size_t kMaxComplaint = 300;

// xgrammar's own words, in one line, without the place in its sources.
std::string complaint(std::string text) {
  if (text.starts_with("[")) text = text.substr(std::min(text.find(": ") + 2, text.size()));
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (text.ends_with(' ')) text.pop_back();
  if (text.size() > kMaxComplaint)
    text = text.substr(0, complete_utf8_prefix(std::string_view(text).substr(0, kMaxComplaint))) + "…";
  return replace_invalid_utf8(text);
}

class WarningCollector {
 public:
  WarningCollector() { xgrammar_warnings = &text_; }
  ~WarningCollector() { xgrammar_warnings = nullptr; }
  WarningCollector(const WarningCollector&) = delete;
  WarningCollector& operator=(const WarningCollector&) = delete;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

GrammarTokens::GrammarTokens(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
GrammarTokens::~GrammarTokens() = default;

Result<std::shared_ptr<const GrammarTokens>> GrammarTokens::create(const Vocabulary& vocabulary) {
  std::vector<std::string> texts = vocabulary.tokens;
  std::vector<char> is_control(texts.size()), is_blank(texts.size());
  const auto is_known = [&](TokenId token) { return token >= 0 && static_cast<size_t>(token) < texts.size(); };
  for (const TokenId token : vocabulary.control_tokens) {
    if (!is_known(token))
      return fail(ErrorCode::kCorrupt, "vocabulary: control token {} is not one of {}", token, texts.size());
    texts[static_cast<size_t>(token)].insert(0, 1, kNoText);
    is_control[static_cast<size_t>(token)] = 1;
  }
  for (const TokenId token : vocabulary.stop_token_ids)
    if (!is_known(token))
      return fail(ErrorCode::kCorrupt, "vocabulary: stop token {} is not one of {}", token, texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) is_control[i] = 1;
    is_blank[i] = is_control[i] == 0 && texts[i].find_first_not_of(kBlanks) == std::string::npos;
  }
  try {
    xgrammar::TokenizerInfo info(texts, xgrammar::VocabType::RAW, std::nullopt, vocabulary.stop_token_ids);
    return std::shared_ptr<const GrammarTokens>(
        new GrammarTokens(std::make_unique<Parts>(Parts{std::move(info), std::move(is_control), std::move(is_blank)})));
  } catch (const std::bad_alloc&) {   // says nothing of the vocabulary
    throw;
  } catch (const std::exception& trouble) {
    return fail(ErrorCode::kCorrupt, "vocabulary: {}", complaint(trouble.what()));
  }
}

int GrammarTokens::vocab_size() const { return parts_->info.GetVocabSize(); }

bool GrammarTokens::is_text(TokenId token) const {
  return token >= 0 && static_cast<size_t>(token) < parts_->is_control.size() &&
         parts_->is_control[static_cast<size_t>(token)] == 0;
}

bool GrammarTokens::is_blank(TokenId token) const {
  return is_text(token) && parts_->is_blank[static_cast<size_t>(token)] != 0;
}

Result<std::string> compile_grammar(const std::string& structural_tag, const GrammarTokens& tokens) {
  const WarningCollector warnings;
  try {
    xgrammar::GrammarCompiler compiler(tokens.parts().info, 1, false);
    const xgrammar::CompiledGrammar compiled = compiler.CompileStructuralTag(structural_tag);
    // What xgrammar warns of is what it leaves out, and an answer would then not be what was asked for.
    if (!warnings.text().empty()) return fail(ErrorCode::kInvalidArgument, "{}", complaint(warnings.text()));
    return compiled.SerializeJSON();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kInvalidArgument, "the grammar takes too much memory to prepare");
  } catch (const std::exception& trouble) {
    return fail(ErrorCode::kInvalidArgument, "{}", complaint(trouble.what()));
  }
}

Grammar::Grammar(std::unique_ptr<const Parts> parts, std::shared_ptr<const GrammarTokens> tokens)
    : parts_(std::move(parts)), tokens_(std::move(tokens)) {}
Grammar::~Grammar() = default;

Result<std::shared_ptr<const Grammar>> Grammar::read(const std::string& serialised,
                                                     std::shared_ptr<const GrammarTokens> tokens) {
  try {
    auto compiled = xgrammar::CompiledGrammar::DeserializeJSON(serialised, tokens->parts().info);
    if (auto* grammar = std::get_if<xgrammar::CompiledGrammar>(&compiled))
      return std::shared_ptr<const Grammar>(
          new Grammar(std::make_unique<Parts>(Parts{std::move(*grammar)}), std::move(tokens)));
    return fail(ErrorCode::kCorrupt, "grammar: {}",
                complaint(std::visit([](const auto& error) { return std::string(error.what()); },
                                     std::get<xgrammar::SerializationError>(compiled))));
  } catch (const std::bad_alloc&) {   // says nothing of the grammar
    throw;
  } catch (const std::exception& trouble) {
    return fail(ErrorCode::kCorrupt, "grammar: {}", complaint(trouble.what()));
  }
}

size_t Grammar::num_bytes() const { return parts_->compiled.MemorySizeBytes(); }

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)),
      parts_(std::make_unique<Parts>(Parts{xgrammar::GrammarMatcher(grammar_->parts().compiled)})) {}
GrammarState::~GrammarState() = default;

bool GrammarState::accept(TokenId token) {
  try {
    return parts_->matcher.AcceptToken(token);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {   // what it cannot follow it does not allow
    return false;
  }
}

bool GrammarState::is_over() const { return parts_->matcher.IsTerminated(); }

Status GrammarState::allowed(std::span<uint32_t> words) {
  const auto num_words = static_cast<size_t>(xgrammar::GetBitmaskSize(grammar_->tokens().vocab_size()));
  CHECK(words.size() >= num_words, "{} words for a vocabulary of {}", words.size(), grammar_->tokens().vocab_size());
  std::ranges::fill(words, ~0U);
  auto shape = static_cast<int64_t>(num_words);
  DLTensor tensor{};
  tensor.data = words.data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = xgrammar::GetBitmaskDLType();
  tensor.shape = &shape;
  try {
    parts_->matcher.FillNextTokenBitmask(&tensor);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& trouble) {
    return fail(ErrorCode::kInternal, "grammar: {}", complaint(trouble.what()));
  }
  const int tail = grammar_->tokens().vocab_size() % 32;
  if (tail != 0) words[num_words - 1] &= (1U << tail) - 1;
  std::ranges::fill(words.subspan(num_words), 0U);
  return {};
}

}  // namespace gale
