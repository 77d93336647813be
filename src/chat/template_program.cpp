#include "chat/template_program_internal.h"

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <string_view>

namespace gale {
namespace {

using jinja::token;

// After one of these words a string is an expression; after another word it may be the bare argument of a test
// (`is eq "x"`), which the parser takes as a literal only.
constexpr std::array<std::string_view, 8> kWordsBeforeExpressions = {"if",  "elif", "else", "in",
                                                                     "not", "and",  "or",   "call"};

class Rewriter {
 public:
  explicit Rewriter(std::vector<token> tokens) : in_(std::move(tokens)) {}

  std::vector<token> rewrite() {
    for (at_ = 0; at_ < in_.size(); ++at_) rewrite_token();
    return std::move(out_);
  }
  std::vector<std::string> texts() { return std::move(texts_); }

 private:
  void put(token::type type, std::string value) { out_.push_back({type, std::move(value), in_[at_].pos}); }

  void put_call(const char* function, const std::string& number = {}) {
    put(token::open_expression, "{{");
    put(token::identifier, function);
    put(token::open_paren, "(");
    if (!number.empty()) put(token::numeric_literal, number);
    put(token::close_paren, ")");
    put(token::close_expression, "}}");
  }

  std::string remember(std::string text) {
    texts_.push_back(std::move(text));
    return std::to_string(texts_.size() - 1);
  }

  bool is_literal_only() const {
    if (out_.empty() || out_.back().t != token::identifier) return false;
    return std::find(kWordsBeforeExpressions.begin(), kWordsBeforeExpressions.end(), out_.back().value) ==
           kWordsBeforeExpressions.end();
  }

  void rewrite_string() {
    if (is_literal_only()) {
      out_.push_back(in_[at_]);
      return;
    }
    std::string text = in_[at_].value;
    while (at_ + 1 < in_.size() && in_[at_ + 1].t == token::string_literal) text += in_[++at_].value;
    put(token::identifier, kTextList);
    put(token::open_square_bracket, "[");
    put(token::numeric_literal, remember(std::move(text)));
    put(token::close_square_bracket, "]");
  }

  void rewrite_token() {
    const token& current = in_[at_];
    switch (current.t) {
      case token::text: put_call(kTextFunction, remember(current.value)); return;
      case token::string_literal: rewrite_string(); return;
      case token::open_expression:
        out_.push_back(current);
        put(token::identifier, kPrintFunction);
        put(token::open_paren, "(");
        put(token::open_paren, "(");
        return;
      case token::close_expression:
        put(token::close_paren, ")");
        put(token::close_paren, ")");
        out_.push_back(current);
        return;
      case token::open_statement:
        keyword_ = at_ + 1 < in_.size() ? in_[at_ + 1].value : std::string();
        if (keyword_ == "endmacro") put_call(kLeaveFunction);
        out_.push_back(current);
        return;
      case token::close_statement:
        out_.push_back(current);
        if (keyword_ == "for") put_call(kStepFunction);
        if (keyword_ == "macro") put_call(kEnterFunction);
        return;
      default: out_.push_back(current); return;   // all others stay
    }
  }

  std::vector<token> in_;
  std::vector<token> out_;
  std::vector<std::string> texts_;
  size_t at_ = 0;
  std::string keyword_;   // of the statement that is open
};

}  // namespace

std::string engine_message(const std::string& what) {
  constexpr std::string_view kBefore = "\nError: ";
  constexpr std::string_view kRaised = "Jinja Exception: ";
  const size_t at = what.find(kBefore);
  std::string message = at == std::string::npos ? what : what.substr(at + kBefore.size());
  if (message.starts_with(kRaised)) message.erase(0, kRaised.size());
  std::replace(message.begin(), message.end(), '\n', ' ');
  return message;
}

Result<TemplateProgram> parse_template(const std::string& source) {
  try {
    const jinja::lexer_result lexed = jinja::lexer().tokenize(source);
    Rewriter rewriter(lexed.tokens);
    TemplateProgram out;
    out.program = jinja::parse_from_tokens({rewriter.rewrite(), lexed.source});
    out.texts = rewriter.texts();
    return out;
  } catch (const std::bad_alloc&) {    // not the template's fault
    throw;
  } catch (const std::exception& exception) {
    return fail(ErrorCode::kCorrupt, "chat template: {}", engine_message(exception.what()));
  }
}

}  // namespace gale
