// Random answers that a schema or format allows, token by token as an engine would draw them from flat logits:
// sample_answers TOKENIZER_JSON ANSWERS MAX_TOKENS. Reads JSON lines {"schema": …} or {"format": …}, with "texts" if
// whole answers are to be tried; answers each with {"answers": [{"text", "is_whole"}], "allowed": [whether each text
// is], "compile_ms", "mask_us": [p50, p99, max], "num_masks"} or {"error", "param"}. At the end stderr gets
// {"num_masks", "mask_us"} over all lines.

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/utf8.h"
#include "chat/json_schema.h"
#include "grammar/grammar.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

using SteadyClock = std::chrono::steady_clock;

double microseconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

// The thread's own time: what others do on the machine is no cost of a mask.
double processor_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// P50, P99, the largest.
Json percentiles(std::vector<double> values) {
  if (values.empty()) return Json::array();
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values[values.size() * 99 / 100], values.back()};
}

struct Answer {
  std::string text;
  bool is_whole = false;
};

class AnswerMaker {
 public:
  AnswerMaker(const Tokenizer& tokenizer, std::shared_ptr<const GrammarTokens> tokens, TokenId stop)
      : tokenizer_(tokenizer), tokens_(std::move(tokens)), stop_(stop) {
    for (TokenId token = 0; token < tokens_->vocab_size(); ++token) {
      const std::string_view bytes = tokenizer_.token_bytes(token);
      if (bytes == "\"" || bytes == "}" || bytes == "]" || bytes == "\"}") enders_.push_back(token);
    }
  }

  Result<Json> answer(const Json& line, int num_answers, int max_tokens) {
    Json format = line.value("format", Json());
    if (format.is_null()) {
      GALE_ASSIGN(Json schema, prepare_schema(line["schema"], "schema", SchemaDemand::kAll));
      format = {{"type", "json_schema"}, {"json_schema", std::move(schema)}, {"max_whitespace_cnt", kMaxJsonBlanks}};
    }
    const auto start = SteadyClock::now();
    GALE_ASSIGN(const std::string serialised,
                compile_grammar(dump_json(Json{{"type", "structural_tag"}, {"format", format}}), *tokens_));
    const double compile_ms = microseconds_since(start) / 1e3;
    GALE_ASSIGN(const std::shared_ptr<const Grammar> grammar, Grammar::read(serialised, tokens_));
    mask_us_.clear();
    Json answers = Json::array();
    for (int i = 0; i < num_answers; ++i) {
      GALE_ASSIGN(const Answer made, draw_answer(grammar, max_tokens));
      answers.push_back({{"text", replace_invalid_utf8(made.text)}, {"is_whole", made.is_whole}});
    }
    Json allowed = Json::array();
    for (const Json& text : line.value("texts", Json::array()))
      allowed.push_back(is_allowed(grammar, text.get_ref<const std::string&>()));
    all_mask_us_.insert(all_mask_us_.end(), mask_us_.begin(), mask_us_.end());
    return Json{{"answers", std::move(answers)},
                {"allowed", std::move(allowed)},
                {"compile_ms", compile_ms},
                {"num_bytes", serialised.size()},
                {"mask_us", percentiles(mask_us_)},
                {"num_masks", mask_us_.size()}};
  }

  [[nodiscard]] Json masks_of_all() const {
    return Json{{"num_masks", all_mask_us_.size()}, {"mask_us", percentiles(all_mask_us_)}};
  }

 private:
  Result<Answer> draw_answer(const std::shared_ptr<const Grammar>& grammar, int max_tokens) {
    GrammarState state(grammar);
    Answer answer;
    std::vector<uint32_t> words((static_cast<size_t>(tokens_->vocab_size()) + 31) / 32);
    for (int i = 0; i < max_tokens; ++i) {
      const double start = processor_us();
      GALE_TRY(state.allowed(words));
      mask_us_.push_back(processor_us() - start);
      GALE_ASSIGN(const TokenId token, draw(words));
      if (!state.accept(token)) return fail(ErrorCode::kInternal, "token {} was allowed and then refused", token);
      if (state.is_over()) {
        answer.is_whole = true;
        return answer;
      }
      answer.text += tokenizer_.token_bytes(token);
    }
    return answer;
  }

  [[nodiscard]] bool is_allowed(const std::shared_ptr<const Grammar>& grammar, const std::string& text) const {
    GrammarState state(grammar);
    const std::vector<TokenId> ids = tokenizer_.encode(text, AddedTokens::kPlain);
    return std::all_of(ids.begin(), ids.end(), [&](TokenId id) { return state.accept(id); }) && state.accept(stop_) &&
           state.is_over();
  }

  // Flat over what is allowed, but often an end where there may be one: or strings would go on for ever.
  Result<TokenId> draw(const std::vector<uint32_t>& words) {
    std::vector<TokenId> allowed, ends;
    for (TokenId token = 0; token < tokens_->vocab_size(); ++token)
      if ((words[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0) allowed.push_back(token);
    if (allowed.empty()) return fail(ErrorCode::kInternal, "no token is allowed");
    const auto is_allowed = [&](TokenId token) {
      return (words[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0;
    };
    std::copy_if(enders_.begin(), enders_.end(), std::back_inserter(ends), is_allowed);
    if (is_allowed(stop_) && random_() % 2 == 0) return stop_;
    if (!ends.empty() && random_() % 3 == 0) return ends[random_() % ends.size()];
    return allowed[random_() % allowed.size()];
  }

  const Tokenizer& tokenizer_;
  const std::shared_ptr<const GrammarTokens> tokens_;   // shared with grammars
  const TokenId stop_;
  std::vector<TokenId> enders_;
  std::vector<double> mask_us_, all_mask_us_;
  std::mt19937 random_{12345};
};

int run(const std::string& tokenizer_path, int num_answers, int max_tokens) {
  const auto tokenizer = Tokenizer::load(tokenizer_path);
  if (!tokenizer) {
    std::cerr << tokenizer.error().message << "\n";
    return 3;
  }
  Vocabulary vocabulary;
  for (TokenId token = 0; token < (*tokenizer)->vocab_size(); ++token) {
    vocabulary.tokens.emplace_back((*tokenizer)->token_bytes(token));
    if ((*tokenizer)->is_added(token)) vocabulary.control_tokens.push_back(token);
  }
  const TokenId stop = vocabulary.control_tokens.front();
  vocabulary.stop_token_ids = {stop};
  const auto tokens = GrammarTokens::create(vocabulary);
  if (!tokens) {
    std::cerr << tokens.error().message << "\n";
    return 3;
  }
  AnswerMaker maker(**tokenizer, *tokens, stop);
  for (std::string line; std::getline(std::cin, line);) {
    const auto parsed = parse_json(line);
    const Result<Json> answer =
        parsed ? maker.answer(*parsed, num_answers, max_tokens) : tl::unexpected(parsed.error());
    std::cout << dump_json(answer ? *answer : Json{{"error", answer.error().message}, {"param", answer.error().param}})
              << std::endl;
  }
  std::cerr << dump_json(maker.masks_of_all()) << "\n";
  return 0;
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: sample_answers TOKENIZER_JSON ANSWERS MAX_TOKENS\n";
    return 2;
  }
  return gale::run(argv[1], std::atoi(argv[2]), std::atoi(argv[3]));
}
