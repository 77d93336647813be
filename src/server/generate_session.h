#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/answer.h"
#include "server/answer_outlet.h"
#include "server/serving_metrics.h"
#include "serving/pipeline.h"

namespace gale {

// One generating request from admission to the last byte: hands the pipeline's events to the writer of its wire format
// and what that gives to the outlet. When the answer is over for whatever reason, its handles are destroyed, which
// cancels what still runs. Shared by the outlet and the pipeline's sinks.
class GenerateSession : public std::enable_shared_from_this<GenerateSession> {
 public:
  struct Parts {
    std::unique_ptr<AnswerWriter> writer;
    bool is_stream = false;
    size_t num_requests = 1;
  };
  GenerateSession(Parts parts, std::shared_ptr<AnswerOutlet> outlet, Pipeline& pipeline, ServingMetrics& metrics);

  // Submits all; if one is refused the client gets that error.
  void start(std::vector<GenerateRequest> requests);
  // The answer is over: cancels and lets go of everything. Not from a sink.
  void release();
  // Ends the answer with that error, as if the pipeline had said so. Not from a sink.
  void abort(const Error& error);

 private:
  // What metrics need to know of one prompt's answer.
  struct Progress {
    bool is_started = false;
    bool is_over = false;
    int num_generated = 0;
    std::optional<TimePoint> first_token;
    std::vector<TimePoint> last_token;        // by choice
    int num_prompt_tokens = 0;
    int num_cached = 0;
  };

  void submit(std::vector<GenerateRequest> requests);
  void on_event(size_t request, const Event& event);
  void deliver(size_t request, const Event& event);   // under the lock
  void send_held();
  void observe(Progress& progress, const Event& event);
  void observe_delta(Progress& progress, const Delta& delta);
  void add_generated(Progress& progress, int total);
  void note_finish(std::string_view reason);
  void tell_facts();                                  // under the lock, once

  std::mutex mutex_;
  const std::unique_ptr<AnswerWriter> writer_;
  const bool is_stream_;
  const std::shared_ptr<AnswerOutlet> outlet_;   // shared with what carries it
  Pipeline& pipeline_;
  ServingMetrics& metrics_;
  std::vector<Progress> progress_;
  std::vector<std::unique_ptr<RequestHandle>> handles_;
  std::string held_;                           // frames until all prompts are admitted, or there is memory to send them
  bool is_streaming_ = false;
  bool is_over_ = false;
  bool are_facts_told_ = false;
  bool is_cancelled_ = false;                  // let go before it was over
  std::vector<std::string> finish_reasons_;
};

}  // namespace gale
