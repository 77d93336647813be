#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "request/generation_config.h"
#include "serving/admission.h"
#include "serving/engine_process.h"
#include "serving/engine_supervisor.h"
#include "serving/grammar_service.h"
#include "serving/pipeline.h"

namespace gale {

class Tokenizer;

// What the first engine will be able to do, as far as is known before it is there.
struct ExpectedEngine {
  int max_model_len = 0;
  EngineCapacity capacity;
};

struct PipelineConfig {
  ServedModel model;                           // max_model_len 0: the engine's; else the smaller of both counts
  std::optional<int> default_max_tokens;       // for requests that name none; none: what is left of the context
  int num_workers = 2;                         // threads for templates, tokenising, detokenising, parsing
  std::optional<ExpectedEngine> expected;      // given: requests wait for the first engine instead of being refused
  Duration request_timeout{};                  // from submission to the last token; 0: no limit
  AdmissionConfig admission;
  SupervisorConfig supervisor;
  GrammarServiceConfig grammars;
  GrammarCompilerFactory grammar_compiler;     // none: requests that need a grammar are refused
};

// The pipeline of `gale serve`: text work on its own threads, computation in an engine that is kept running.
// Handles may outlive it. Destroying it is shutdown without waiting.
class EnginePipeline : public Pipeline {
 public:
  // New requests are refused with kUnavailable from now on; live ones go on.
  virtual void begin_drain() = 0;
  // begin_drain, then waits until nothing is live or `patience` is over; what is live then gets a Failed
  // (kUnavailable), and the engine leaves. True if everything had ended by itself.
  virtual bool shutdown(Duration patience) = 0;
  // What the engine itself said of why it cannot run, e.g. that the model is unreadable; for the exit code.
  [[nodiscard]] virtual std::optional<Error> engine_fault() const = 0;
};

// The engine starts at once; requests are refused with kUnavailable until it is ready. `clock` must outlive the
// pipeline and be thread-safe. `chat_template` may be null: the model then takes raw prompts only.
[[nodiscard]] std::unique_ptr<EnginePipeline> make_pipeline(PipelineConfig config, std::unique_ptr<Tokenizer> tokenizer,
                                                            std::unique_ptr<ChatTemplate> chat_template,
                                                            GenerationDefaults defaults, const Clock& clock,
                                                            EngineLauncher launcher);

}  // namespace gale
