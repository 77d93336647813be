#include "tokenizer/regex_splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/log.h"
#include "tokenizer/unicode_additions.h"

namespace gale {
namespace {

constexpr std::string_view kWhiteSpace = R"(\t-\r\x{85}\p{Z})";   // White_Space, for use in brackets

template <class T, void (*free_function)(T*)>
struct Free {
  void operator()(T* pointer) const { free_function(pointer); }
};
using CodeHandle = std::unique_ptr<pcre2_code, Free<pcre2_code, pcre2_code_free>>;
using MatchHandle = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data, pcre2_match_data_free>>;
using ContextHandle = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context, pcre2_match_context_free>>;
using StackHandle = std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack, pcre2_jit_stack_free>>;

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What \p{NAME} means, for use in brackets.
std::string property(std::string_view name) {
  std::string set = fmt::format(R"(\p{{{}}})", name);
  for (const UnicodeAddition& addition : unicode_additions())
    if (addition.category.starts_with(name))
      set += fmt::format(R"(\x{{{:x}}}-\x{{{:x}}})", addition.first, addition.last);
  return set;
}

class PatternTranslator {
 public:
  explicit PatternTranslator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> translate() {
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '\\' && at_ + 1 < pattern_.size()) {
        GALE_TRY(translate_escape());
      } else {
        GALE_TRY(translate_character());
      }
    }
    return std::move(out_);
  }

 private:
  Status unsupported(std::string_view what) const {
    return fail(ErrorCode::kCorrupt, "{} within brackets is not supported (offset {})", what, at_);
  }

  Status write_set(std::string_view set, bool is_negated) {
    if (in_brackets_ && is_negated) return unsupported(R"(\S or \P)");
    out_ += in_brackets_ ? std::string(set) : fmt::format("[{}{}]", is_negated ? "^" : "", set);
    return {};
  }

  Status translate_escape() {
    const char escaped = pattern_[at_ + 1];
    const bool is_blank = escaped == 's' || escaped == 'S';
    const size_t close = pattern_.find('}', at_);
    const bool is_property =
        (escaped == 'p' || escaped == 'P') && pattern_.substr(at_ + 2, 1) == "{" && close != std::string_view::npos;
    if (is_blank) {
      GALE_TRY(write_set(kWhiteSpace, escaped == 'S'));
    } else if (is_property) {
      std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
      const bool has_caret = name.starts_with('^');
      if (has_caret) name.remove_prefix(1);
      GALE_TRY(write_set(property(name), has_caret != (escaped == 'P')));
    } else {
      out_ += pattern_.substr(at_, 2);
    }
    at_ = is_property ? close + 1 : at_ + 2;
    return {};
  }

  Status translate_character() {
    const char c = pattern_[at_];
    if (in_brackets_ && c == '[') return unsupported("[");
    if (in_brackets_ && pattern_.substr(at_, 2) == "&&") return unsupported("&&");
    if (c == '[') {
      in_brackets_ = true;
      bracket_ = at_;
    } else if (c == ']' && at_ > bracket_ + 1) {
      in_brackets_ = false;
    }
    out_ += c;
    ++at_;
    return {};
  }

  std::string_view pattern_;
  size_t at_ = 0;
  size_t bracket_ = 0;         // where the open one began
  bool in_brackets_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> pcre2_pattern(std::string_view pattern) { return PatternTranslator(pattern).translate(); }

struct RegexSplitter::Code {
  CodeHandle handle;
};

RegexSplitter::RegexSplitter(std::unique_ptr<const Code> code) : code_(std::move(code)) {}
RegexSplitter::~RegexSplitter() = default;

Result<std::unique_ptr<RegexSplitter>> RegexSplitter::compile(const std::string& pattern) {
  GALE_ASSIGN(const std::string translated, pcre2_pattern(pattern));
  int error = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: oniguruma's ^ and $ always look at lines.
  CodeHandle handle(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr));
  if (!handle) return fail(ErrorCode::kCorrupt, "{} (offset {} of {})", error_text(error), offset, translated);
  const int compiled = pcre2_jit_compile(handle.get(), PCRE2_JIT_COMPLETE);
  if (compiled != 0 && compiled != PCRE2_ERROR_JIT_BADOPTION)   // BADOPTION: this PCRE2 has no JIT; slower, but right
    return fail(ErrorCode::kOutOfMemory, "{}", error_text(compiled));
  return std::unique_ptr<RegexSplitter>(new RegexSplitter(std::make_unique<const Code>(Code{std::move(handle)})));
}

void RegexSplitter::split(std::string_view text, std::vector<size_t>& ends) const {
  constexpr size_t kFirstStackBytes = 32 << 10;
  constexpr size_t kMaxStackBytes = 16 << 20;
  const MatchHandle match(pcre2_match_data_create(1, nullptr));   // pairs of offsets: the whole match only
  const ContextHandle context(pcre2_match_context_create(nullptr));
  const StackHandle stack(pcre2_jit_stack_create(kFirstStackBytes, kMaxStackBytes, nullptr));
  pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match.get());
  size_t end = 0;    // of the last piece
  size_t from = 0;
  while (from < text.size()) {
    const int found = pcre2_match(code_->handle.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), context.get());
    if (found < 0) {
      if (found != PCRE2_ERROR_NOMATCH)
        log_warning("pre-tokenizer stopped at byte {} of {}: {}", from, text.size(), error_text(found));
      break;
    }
    if (offsets[0] > end) ends.push_back(offsets[0]);
    end = from = offsets[1];
    ends.push_back(end);
  }
  if (end < text.size()) ends.push_back(text.size());
}

}  // namespace gale
