#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "request/generation_config.h"
#include "serving/admission.h"
#include "serving/choice_stream.h"
#include "serving/deadlines.h"
#include "serving/engine_pipeline.h"
#include "serving/engine_supervisor.h"
#include "serving/pipeline.h"
#include "serving/prompt.h"
#include "serving/worker_pool.h"

namespace gale {

// Sequences that a list of inputs to be pooled takes at once; the others wait in the front and take no place.
[[nodiscard]] int num_pooled_at_once(size_t num_inputs, int max_num_seqs);

// What all requests of a pipeline use.
struct PipelineParts {
  PipelineParts(PipelineConfig config, std::unique_ptr<Tokenizer> tokenizer,
                std::unique_ptr<ChatTemplate> chat_template, GenerationDefaults defaults, const Clock& clock,
                EngineLauncher launcher);
  ~PipelineParts();
  [[nodiscard]] SequenceLimits limits() const;

  const PipelineConfig config;
  const std::unique_ptr<const Tokenizer> tokenizer;
  const std::unique_ptr<const ChatTemplate> chat_template;   // may be null
  const GenerationDefaults defaults;
  const OutputFormat output_format;
  const CallDialect call_dialect;
  const std::shared_ptr<const Vocabulary> vocabulary;        // shared with grammar compilers
  Admission admission;
  WorkerPool workers;
  EngineSupervisor supervisor;
  std::unique_ptr<GrammarService> grammars;                  // null: there is no compiler
  Deadlines deadlines;                                       // last: its thread tells sessions, which use what is above
};

// One client's request on its way: from prompt to tokens, then each choice from tokens to events. Runs on the worker
// threads, one at a time; ends with Completed, Failed or abandon(), and frees its place at the door then.
class Session final : public OutputReceiver,
                      public Job,
                      public DeadlineHolder,
                      public std::enable_shared_from_this<Session> {
 public:
  // `ids`: one for each choice. `parts` is shared because a handle may outlive the pipeline.
  Session(std::shared_ptr<PipelineParts> parts, GenerateRequest request, Sink sink, Admission::Slot slot,
          std::vector<RequestId> ids);

  void start();
  // No sink call is running or will come once this has returned.
  void abandon();

  void on_output(SequenceOutput output, WorkerPool::Burst& burst) override;
  void on_failure(RequestId id, Error error) override;
  void on_deadline() override;
  void run() override;

 private:
  struct Incoming {
    SequenceOutput output;
    std::optional<Error> failure;
  };
  // Of one choice, over all engines it ran on.
  struct ChoiceTime {
    int64_t waiting_us = 0, prefill_us = 0, running_us = 0;
    bool has_token = false;
  };
  [[nodiscard]] Result<std::string> structural_tag() const;
  void on_grammar(Result<SharedText> grammar);
  [[nodiscard]] Status constrain(Submit& submit, PromptThinking thinking) const;
  void work();
  void prepare();
  [[nodiscard]] Status submit_choices();
  // The same where inputs are pooled: each of ids_ is one, and so many are with the engine as may run there at once.
  [[nodiscard]] Status submit_inputs();
  [[nodiscard]] Status submit_next_input();
  void process_pooled(size_t input, SequenceOutput output);
  [[nodiscard]] ChoiceOptions choice_options(PromptThinking thinking) const;
  // Whether it has to be queued now.
  [[nodiscard]] bool receive(Incoming incoming);
  void queue_output();
  void process(SequenceOutput output);
  void process_prompt_logprobs(SequenceOutput& output);
  void deliver(size_t choice, SequenceOutput output);
  void note_time(size_t choice, const SequenceOutput& output);
  [[nodiscard]] RequestTimes times() const;
  [[nodiscard]] Usage usage() const;
  void fail_request(Error error);
  void emit(Event event);
  void end_with(Event event);
  [[nodiscard]] bool is_over() const;

  const std::shared_ptr<PipelineParts> parts_;
  const std::vector<RequestId> ids_;

  // Touched only inside run().
  GenerateRequest request_;
  Result<SharedText> grammar_;                   // written before the first run()
  bool is_prepared_ = false;
  std::deque<ChoiceStream> choices_;
  std::vector<Submit> inputs_;                   // pooled ones; those before next_input_ are submitted, and empty
  size_t next_input_ = 0;
  size_t num_finished_ = 0;
  int num_prompt_tokens_ = 0;
  int num_cached_tokens_ = 0;
  std::vector<ChoiceTime> choice_times_;         // by place in ids_
  Duration parser_time_{};
  bool awaits_prompt_logprobs_ = false;          // nothing else is told before them
  std::vector<TokenLogprobs> prompt_logprobs_;
  std::vector<SequenceOutput> deferred_;         // of other choices, meanwhile

  std::mutex inbox_mutex_;                       // guards the two
  std::vector<Incoming> inbox_;
  bool is_queued_ = false;                       // with the workers, or running

  mutable std::mutex delivery_mutex_;            // held during a sink call; guards the three
  Sink sink_;
  Admission::Slot slot_;
  bool is_over_ = false;
};

}  // namespace gale
