#include "serving/grammar_service.h"

#include <new>
#include <utility>

#include "base/no_memory.h"

namespace gale {

GrammarService::GrammarService(GrammarServiceConfig config, const GrammarCompilerFactory& factory,
                               std::shared_ptr<const Vocabulary> vocabulary)
    : config_(config) {
  for (int i = 0; i < config_.num_compilers; ++i) compilers_.push_back(factory(vocabulary));
  try {
    for (const auto& compiler : compilers_) threads_.emplace_back([this, &compiler] { work(*compiler); });
  } catch (...) {   // those that began use this object
    stop();
    throw;
  }
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
      if (!is_new || queue_.size() < config_.max_waiting)
        return add_waiting(std::move(structural_tag), std::move(done));
      answer = fail(ErrorCode::kOverloaded, "the server is busy: {} grammars wait to be prepared", queue_.size());
    }
  }
  done(std::move(answer));
}

// Whoever waits is queued, too: without memory for that he does not wait.
void GrammarService::add_waiting(std::string structural_tag, Done done) {
  const auto [entry, is_new] = waiting_.try_emplace(structural_tag);
  try {
    entry->second.push_back(std::move(done));
    if (is_new) queue_.push_back(std::move(structural_tag));
  } catch (const std::bad_alloc&) {
    if (is_new) waiting_.erase(entry);
    throw;
  }
  wake_.notify_one();
}

void GrammarService::remember(const std::string& structural_tag, const Result<SharedText>& grammar) {
  const bool is_worth_it = grammar || grammar.error().code == ErrorCode::kInvalidArgument;
  if (!is_worth_it || index_.contains(structural_tag)) return;
  known_.push_front({structural_tag, grammar});
  try {
    index_.emplace(structural_tag, known_.begin());
  } catch (const std::bad_alloc&) {
    known_.pop_front();
    throw;
  }
  num_known_bytes_ += known_.front().num_bytes();
  while (num_known_bytes_ > config_.max_cached_bytes && known_.size() > 1) {
    num_known_bytes_ -= known_.back().num_bytes();
    index_.erase(known_.back().structural_tag);
    known_.pop_back();
  }
}

Result<SharedText> GrammarService::prepare(GrammarCompiler& compiler, const std::string& structural_tag) {
  Result<std::string> compiled = compiler.compile(structural_tag);
  if (!compiled) return tl::unexpected(std::move(compiled).error());
  return SharedText(*std::move(compiled));
}

// Without memory whoever waits for the grammar is told so, as soon as there is some for these words.
void GrammarService::work(GrammarCompiler& compiler) {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return is_stopping_ || !queue_.empty(); });
    if (is_stopping_) return;
    const std::string structural_tag = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Result<SharedText> grammar = SharedText();
    try {
      grammar = prepare(compiler, structural_tag);
    } catch (const std::bad_alloc&) {
      when_there_is_memory([&] { grammar = tl::unexpected(no_memory()); });
    }
    lock.lock();
    try {
      remember(structural_tag, grammar);
    } catch (const std::bad_alloc&) {   // it is prepared again when it is asked for again
    }
    const auto node = waiting_.extract(structural_tag);
    lock.unlock();
    if (node) {
      for (const Done& done : node.mapped()) when_there_is_memory([&] { done(grammar); });
    }
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
