#include "engine/constraints.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/mask_pool.h"
#include "grammar/grammar.h"

namespace gale {
namespace {

constexpr size_t kMaxRecentGrammars = 16;
constexpr double kMaxMaskSeconds = 0.5;   // of computing for one token; a grammar that needs more holds up everybody
constexpr unsigned kMaxThreads = 8;

double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int num_pool_threads() {
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMaxThreads));
}

void set_bit(std::vector<uint32_t>& words, TokenId token) {
  words[static_cast<size_t>(token) / 32] |= 1U << (token % 32);
}

}  // namespace

// Whoever needs it first reads it; the others wait.
struct Constraints::SharedGrammar {
  SharedText serialised;
  std::shared_ptr<const GrammarTokens> tokens;   // shared with all grammars
  std::once_flag once;
  Result<std::shared_ptr<const Grammar>> grammar = fail(ErrorCode::kInternal, "not read yet");

  const Result<std::shared_ptr<const Grammar>>& get() {
    std::call_once(once, [this] { grammar = Grammar::read(serialised.str(), tokens); });
    return grammar;
  }
};

namespace {

// What one sequence's masks are computed from. Used by one thread at a time: the engine's, or while busy the pool's.
class ConstraintWork {
 public:
  ConstraintWork(Thinking thinking, std::shared_ptr<Constraints::SharedGrammar> grammar,
                 std::shared_ptr<const GrammarTokens> tokens, int vocab_size)
      : thinking_(thinking),
        grammar_(std::move(grammar)),
        tokens_(std::move(tokens)),
        num_words_((static_cast<size_t>(vocab_size) + 31) / 32) {
    if (thinking_.is_expected()) phase_ = thinking_.open == kNoToken ? Phase::kThinking : Phase::kOpening;
  }

  void compute() {
    const double begin = thread_seconds();
    for (const TokenId token : news) take(token);
    news.clear();
    mask.words = {};
    if (!mask.error) fill();
    if (!mask.error && thread_seconds() - begin > kMaxMaskSeconds)
      mask.error = Error{ErrorCode::kInvalidArgument, "the grammar is too expensive to follow", "response_format"};
  }

  std::vector<TokenId> news;           // tokens of the output not yet taken
  TokenMask mask;
  std::atomic<bool> is_busy = false;

 private:
  enum class Phase { kOpening, kThinking, kAnswer };

  void take(TokenId token) {
    switch (phase_) {
      case Phase::kOpening:
        if (token == thinking_.open) {
          phase_ = Phase::kThinking;
        } else if (tokens_ == nullptr || !tokens_->is_blank(token)) {
          phase_ = Phase::kAnswer;     // without a grammar a model may answer at once
          take(token);
        } else {
          has_blank_ = true;
        }
        return;
      case Phase::kThinking:
        if (token == thinking_.close) phase_ = Phase::kAnswer;
        else ++num_thinking_;
        return;
      case Phase::kAnswer:
        if (grammar_ == nullptr || mask.error) return;
        if (!has_state()) return;
        if (state_->is_over() || !state_->accept(token))
          mask.error = Error{ErrorCode::kInternal, fmt::format("token {} is not what the grammar allows", token)};
        return;
    }
  }

  bool has_state() {
    if (state_) return true;
    const auto& grammar = grammar_->get();
    if (grammar) {
      state_.emplace(*grammar);
    } else {
      mask.error = grammar.error();
    }
    return state_.has_value();
  }

  void fill() {
    switch (phase_) {
      case Phase::kOpening: return grammar_ != nullptr ? allow_opening() : void();
      case Phase::kThinking:
        if (thinking_.budget >= 0 && num_thinking_ >= thinking_.budget) return allow_only_close();
        return grammar_ != nullptr ? allow_thoughts() : void();
      case Phase::kAnswer:
        if (grammar_ != nullptr) allow_what_grammar_says();
        return;
    }
  }

  void clear_words() {
    words_.assign(num_words_, 0);
    mask.words = words_;
  }
  void allow_opening() {
    clear_words();
    set_bit(words_, thinking_.open);
    if (has_blank_) return;            // one token of blanks, as some models begin with
    for (TokenId token = 0; token < tokens_->vocab_size(); ++token)
      if (tokens_->is_blank(token)) set_bit(words_, token);
  }
  void allow_only_close() {
    clear_words();
    set_bit(words_, thinking_.close);
  }
  // An answer that must have a form cannot be skipped: no end, no tags but the one that ends thinking.
  void allow_thoughts() {
    if (thought_words_.empty()) {
      thought_words_.assign(num_words_, 0);
      for (TokenId token = 0; token < tokens_->vocab_size(); ++token)
        if (tokens_->is_text(token)) set_bit(thought_words_, token);
      set_bit(thought_words_, thinking_.close);
    }
    mask.words = thought_words_;
  }
  void allow_what_grammar_says() {
    if (!has_state()) return;
    clear_words();
    if (state_->is_over()) return;
    if (Status status = state_->allowed(words_); !status) {
      mask.error = status.error();
    } else if (std::ranges::all_of(words_, [](uint32_t word) { return word == 0; })) {
      mask.error =
          Error{ErrorCode::kInvalidArgument,
                "no token of this model's vocabulary can continue what the grammar demands", "response_format"};
    }
  }

  const Thinking thinking_;
  // may be null; shared with sequences of the same grammar
  const std::shared_ptr<Constraints::SharedGrammar> grammar_;
  const std::shared_ptr<const GrammarTokens> tokens_;           // null only without a grammar
  const size_t num_words_;
  std::optional<GrammarState> state_;
  Phase phase_ = Phase::kAnswer;
  bool has_blank_ = false;
  int num_thinking_ = 0;
  std::vector<uint32_t> words_, thought_words_;
};

class PooledConstraint final : public TokenConstraint {
 public:
  PooledConstraint(std::shared_ptr<ConstraintWork> work, MaskPool& pool) : work_(std::move(work)), pool_(pool) {}

  void prepare(std::span<const TokenId> output) override {
    wait();
    work_->news.assign(output.begin() + static_cast<ptrdiff_t>(num_given_), output.end());
    num_given_ = output.size();
    work_->is_busy = true;
    pool_.add([work = work_] {
      work->compute();
      work->is_busy = false;
      work->is_busy.notify_all();
    });
  }
  const TokenMask& mask() override {
    wait();
    return work_->mask;
  }

 private:
  void wait() const { work_->is_busy.wait(true); }

  const std::shared_ptr<ConstraintWork> work_;   // shared with the pool's thread, which may outlast the sequence
  MaskPool& pool_;
  size_t num_given_ = 0;
};

}  // namespace

Constraints::Constraints(int vocab_size)
    : vocab_size_(vocab_size),
      tokens_(fail_param(ErrorCode::kUnimplemented, "response_format", "this engine was told no vocabulary")) {}
Constraints::~Constraints() = default;

void Constraints::set_vocabulary(const Vocabulary& vocabulary) {
  recent_.clear();
  if (vocabulary.tokens.size() > static_cast<size_t>(vocab_size_)) {
    tokens_ = fail_param(ErrorCode::kUnimplemented, "response_format", "the tokenizer has {} tokens, the model {}",
                         vocabulary.tokens.size(), vocab_size_);
  } else {
    tokens_ = GrammarTokens::create(vocabulary);
  }
}

std::shared_ptr<Constraints::SharedGrammar> Constraints::find_or_add(const SharedText& serialised) {
  auto found = std::ranges::find_if(recent_, [&](const auto& grammar) { return grammar->serialised == serialised; });
  if (found != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, found);
    return recent_.front();
  }
  auto grammar = std::make_shared<SharedGrammar>();
  grammar->serialised = serialised;
  grammar->tokens = *tokens_;
  recent_.push_front(grammar);
  if (recent_.size() > kMaxRecentGrammars) recent_.pop_back();
  pool_->add([grammar] { (void)grammar->get(); });   // before anybody needs it: prefill takes its time, too
  return grammar;
}

Result<std::unique_ptr<TokenConstraint>> Constraints::make(const Submit& submit) {
  const Thinking& thinking = submit.thinking;
  const bool has_budget = thinking.is_expected() && thinking.budget >= 0;
  if (submit.grammar.empty() && !has_budget) return std::unique_ptr<TokenConstraint>();
  if (std::max(thinking.open, thinking.close) >= vocab_size_)
    return fail(ErrorCode::kInvalidArgument, "a tag of thinking is no token");
  if (pool_ == nullptr) pool_ = std::make_unique<MaskPool>(num_pool_threads());
  std::shared_ptr<SharedGrammar> grammar;
  if (!submit.grammar.empty()) {
    if (!tokens_) return tl::unexpected(tokens_.error());
    grammar = find_or_add(submit.grammar);
  }
  auto work = std::make_shared<ConstraintWork>(thinking, std::move(grammar), tokens_.value_or(nullptr), vocab_size_);
  return std::unique_ptr<TokenConstraint>(std::make_unique<PooledConstraint>(std::move(work), *pool_));
}

}  // namespace gale
