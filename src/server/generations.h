#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "api/answer.h"
#include "base/guarded.h"
#include "server/answer_outlet.h"
#include "server/generate_session.h"
#include "serving/pipeline.h"

namespace gale {

// One client request, ready to run: what is to be generated, and who writes the answer.
struct Generation {
  std::unique_ptr<AnswerWriter> writer;
  bool is_stream = false;
  std::vector<GenerateRequest> requests;
};

// All generating requests that are being answered, whatever wire format and outlet they have. Thread-safe.
class Generations {
 public:
  Generations(Pipeline& pipeline, ServingMetrics& metrics) : pipeline_(pipeline), metrics_(metrics) {}

  // Refusals go to the outlet, too.
  void start(const std::shared_ptr<AnswerOutlet>& outlet, Generation generation);
  // From now on start() refuses.
  void refuse_work() { is_refusing_ = true; }
  // Ends all with that error; how many there were.
  int abort_all(const Error& error);
  [[nodiscard]] int num_live() const;

 private:
  Pipeline& pipeline_;
  ServingMetrics& metrics_;
  std::atomic<bool> is_refusing_{false};
  Guarded<std::unordered_map<GenerateSession*, std::shared_ptr<GenerateSession>>>
      sessions_;  // shared with their outlets
};

}  // namespace gale
