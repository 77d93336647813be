#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/shared_text.h"
#include "serving/grammar_compiler.h"

namespace gale {

struct GrammarServiceConfig {
  int num_compilers = 2;                        // at once: one that takes its two seconds does not hold up the others
  size_t max_waiting = 64;                      // grammars; more are refused with kOverloaded
  size_t max_cached_bytes = size_t{128} << 20;  // of grammars that were asked for lately, and of refusals
};

// Compiles the grammars of requests beside the threads that do their text, and remembers what it compiled. Thread-safe.
class GrammarService {
 public:
  using Done = std::function<void(Result<SharedText>)>;

  GrammarService(GrammarServiceConfig config, const GrammarCompilerFactory& factory,
                 std::shared_ptr<const Vocabulary> vocabulary);
  ~GrammarService();
  GrammarService(const GrammarService&) = delete;
  GrammarService& operator=(const GrammarService&) = delete;

  // `done` is called once: at once if the answer is known or the queue is full, else from a thread of the service.
  // There it is called again if it ran out of memory.
  void compile(std::string structural_tag, Done done);

  // Grammars that wait are refused with kUnavailable, threads end.
  void stop();

 private:
  struct Known {
    std::string structural_tag;
    Result<SharedText> grammar;
    [[nodiscard]] size_t num_bytes() const { return structural_tag.size() + (grammar ? grammar->str().size() : 0); }
  };
  void work(GrammarCompiler& compiler);
  [[nodiscard]] const Known* find_known(const std::string& structural_tag);
  void add_waiting(std::string structural_tag, Done done);
  [[nodiscard]] static Result<SharedText> prepare(GrammarCompiler& compiler, const std::string& structural_tag);
  void remember(const std::string& structural_tag, const Result<SharedText>& grammar);

  const GrammarServiceConfig config_;
  std::vector<std::unique_ptr<GrammarCompiler>> compilers_;
  std::mutex mutex_;                            // guards what follows
  std::condition_variable wake_;
  bool is_stopping_ = false;
  std::deque<std::string> queue_;               // what to compile, each once
  std::unordered_map<std::string, std::vector<Done>> waiting_;   // queued or being compiled
  std::list<Known> known_;                      // latest first
  std::unordered_map<std::string, std::list<Known>::iterator> index_;
  size_t num_known_bytes_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace gale
