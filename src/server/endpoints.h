#pragma once

#include <atomic>

#include "net/asset.h"
#include "net/web_socket.h"
#include "server/call.h"
#include "server/generations.h"
#include "server/response_store.h"
#include "server/server_config.h"
#include "server/stream_archive.h"
#include "server/wire_formats.h"
#include "serving/pipeline.h"

namespace gale {

// What the server does at each route (server/routes.h). Thread-safe.
class Endpoints {
 public:
  Endpoints(const ServerConfig& config, Pipeline& pipeline, ServingMetrics& metrics);

  void live(Call& call);
  void ready(Call& call);
  void health(Call& call);
  void version(Call& call);
  void metrics(Call& call);
  void root(Call& call);
  void load(Call& call);
  void server_info(Call& call);
  void openapi(Call& call);
  void docs(Call& call);
  void guide(Call& call);            // in guide.cpp
  void unsupported(Call& call);
  void list_models(Call& call);
  void show_model(Call& call);
  void tokenize(Call& call);
  void detokenize(Call& call);
  void chat_completions(Call& call);
  void completions(Call& call);
  void embeddings(Call& call);
  void render_chat(Call& call);
  void render_completion(Call& call);
  void invocations(Call& call);
  void messages(Call& call);
  void count_message_tokens(Call& call);
  void responses(Call& call);
  void show_response(Call& call);
  void delete_response(Call& call);
  void cancel_response(Call& call);
  void resume_stream(Call& call);
  void cancel_stream(Call& call);
  void needs_web_socket(Call& call);
  // A WebSocket on the route of chats.
  [[nodiscard]] std::shared_ptr<WebSocketListener> open_chat_socket(const RequestHead& head,
                                                                    std::shared_ptr<WebSocket> socket);

  // /ready is 503 from now on.
  void leave() { is_leaving_ = true; }
  [[nodiscard]] Generations& generations() { return generations_; }
  [[nodiscard]] const Generations& generations() const { return generations_; }

 private:
  using Prepare = Result<Generation> (WireFormats::*)(const Json& body, const Asker& asker) const;

  void reply_error(Call& call, const Error& error) { call.reply_error(error, pipeline_.retry_after_s()); }
  // With the fields that a page of ours wants against hostile content; in endpoints_docs.cpp.
  static void reply_asset(Call& call, const Asset& asset, std::string_view content_security_policy);
  [[nodiscard]] Result<Json> rendered(const PromptInput& prompt) const;
  void reply_json(Call& call, const Result<Json>& body);
  void generate(Call& call, Prepare prepare);

  const ServerConfig& config_;
  Pipeline& pipeline_;
  ServingMetrics& metrics_;
  ResponseStore responses_;
  const WireFormats formats_;
  Generations generations_;
  StreamArchive streams_;
  const std::string openapi_;
  const TimePoint begin_ = std::chrono::steady_clock::now();
  std::atomic<bool> is_leaving_{false};
};

}  // namespace gale
