#pragma once

#include <string>

#include "api/anthropic_messages.h"
#include "api/generation_fields.h"
#include "base/json.h"
#include "server/generations.h"
#include "server/response_store.h"
#include "server/server_config.h"
#include "serving/pipeline.h"

namespace gale {

// The shorter of what was configured and what the engine found room for; 0 while neither is known.
[[nodiscard]] int context_length(const Pipeline& pipeline);

// Who sent a body: the request's id, which names the answer, and whose it is.
struct Asker {
  std::string request_id;
  std::string owner;
};

// What bodies mean for the model that is served here: each wire format's JSON to a generation. Thread-safe.
class WireFormats {
 public:
  // `responses` is where /v1/responses keeps its answers. All outlive this.
  WireFormats(const ServerConfig& config, const Pipeline& pipeline, ResponseStore& responses)
      : config_(config), pipeline_(pipeline), responses_(responses) {}

  [[nodiscard]] Result<Generation> chat(const Json& body, const Asker& asker) const;
  [[nodiscard]] Result<Generation> completion(const Json& body, const Asker& asker) const;
  [[nodiscard]] Result<Generation> embeddings(const Json& body, const Asker& asker) const;
  [[nodiscard]] Result<Generation> messages(const Json& body, const Asker& asker) const;
  [[nodiscard]] Result<Generation> responses(const Json& body, const Asker& asker) const;

  [[nodiscard]] MessagesOptions messages_options() const {
    return {.drops_billing_block = config_.drops_billing_block};
  }
  [[nodiscard]] ApiContext context() const;
  // kNotFound unless the model is served under that name; an empty one is the default.
  [[nodiscard]] Status check_model(const std::string& name) const;

 private:
  [[nodiscard]] AnswerInfo info(std::string_view prefix, const std::string& request_id,
                                const AnswerOptions& options) const;

  const ServerConfig& config_;
  const Pipeline& pipeline_;
  ResponseStore& responses_;
};

}  // namespace gale
