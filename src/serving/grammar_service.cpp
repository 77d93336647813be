#include "serving/grammar_service.h"

#include <utility>

namespace gale {

GrammarService::GrammarService(GrammarServiceConfig config, const GrammarCompilerFactory& factory,
                               std::shared_ptr<const Vocabulary> vocabulary)
    : config_(config) {
  for (int i = 0; i < config_.num_compilers; ++i) compilers_.push_back(factory(vocabulary));
  for (const auto& compiler : compilers_) threads_.emplace_back([this, &compiler] { work(*compiler); });
}

GrammarService::~GrammarService() { stop(); }

const GrammarService::Known* GrammarService::find_known(const std::string& structural_tag) {
  const auto found = index_.find(structural_tag);
  if (found == index_.end()) return nullptr;
  known_.splice(known_.begin(), known_, found->second);
  return &known_.front();
}

void GrammarService::compile(std::string structural_tag, Done done) {
  Result<SharedText> answer = fail(ErrorCode::kUnavailable, "the server is shutting down");
  {
    std::lock_guard lock(mutex_);
    const Known* known = find_known(structural_tag);
    if (known != nullptr) {
      answer = known->grammar;
    } else if (!is_stopping_) {
      const auto entry = waiting_.find(structural_tag);
      const bool is_new = entry == waiting_.end();
      if (!is_new || queue_.size() < config_.max_waiting) {
        waiting_[structural_tag].push_back(std::move(done));
        if (is_new) queue_.push_back(std::move(structural_tag));
        wake_.notify_one();
        return;
      }
      answer = fail(ErrorCode::kOverloaded, "the server is busy: {} grammars wait to be prepared", queue_.size());
    }
  }
  done(std::move(answer));
}

void GrammarService::remember(Known known) {
  const bool is_worth_it = known.grammar || known.grammar.error().code == ErrorCode::kInvalidArgument;
  if (!is_worth_it || index_.contains(known.structural_tag)) return;
  num_known_bytes_ += known.num_bytes();
  known_.push_front(std::move(known));
  index_[known_.front().structural_tag] = known_.begin();
  while (num_known_bytes_ > config_.max_cached_bytes && known_.size() > 1) {
    num_known_bytes_ -= known_.back().num_bytes();
    index_.erase(known_.back().structural_tag);
    known_.pop_back();
  }
}

void GrammarService::work(GrammarCompiler& compiler) {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return is_stopping_ || !queue_.empty(); });
    if (is_stopping_) return;
    const std::string structural_tag = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Result<std::string> compiled = compiler.compile(structural_tag);
    Result<SharedText> grammar =
        compiled ? Result<SharedText>(SharedText(*std::move(compiled))) : tl::unexpected(compiled.error());
    lock.lock();
    remember({structural_tag, grammar});
    auto node = waiting_.extract(structural_tag);
    lock.unlock();
    if (node)
      for (const Done& done : node.mapped()) done(grammar);
    lock.lock();
  }
}

void GrammarService::stop() {
  std::unordered_map<std::string, std::vector<Done>> refused;
  {
    std::lock_guard lock(mutex_);
    if (is_stopping_) return;
    is_stopping_ = true;
    queue_.clear();
    refused.swap(waiting_);
  }
  wake_.notify_all();
  for (const auto& [tag, dones] : refused)
    for (const Done& done : dones) done(fail(ErrorCode::kUnavailable, "the server is shutting down"));
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace gale
