#include "server/generations.h"

#include <new>

namespace gale {

void Generations::start(const std::shared_ptr<AnswerOutlet>& outlet, Generation generation) {
  if (is_refusing_) {
    return outlet->reply_error({ErrorCode::kUnavailable, "the server is shutting down: try another one", {}},
                               pipeline_.retry_after_s());
  }
  std::vector<GenerateRequest>& requests = generation.requests;
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].request_id =
        requests.size() == 1 ? outlet->request_id() : fmt::format("{}-{}", outlet->request_id(), i);
  }
  auto session = std::make_shared<GenerateSession>(
      GenerateSession::Parts{
          .writer = std::move(generation.writer), .is_stream = generation.is_stream, .num_requests = requests.size()},
      outlet, pipeline_, metrics_);
  sessions_.with([&](auto& sessions) { sessions.emplace(session.get(), session); });
  const auto forget = [this](GenerateSession* key) {
    sessions_.with([&](auto& sessions) { sessions.erase(key); });
  };
  try {
    outlet->on_answer_end([session, forget] {
      session->release();
      forget(session.get());
    });
  } catch (const std::bad_alloc&) {    // nothing else would end it
    forget(session.get());
    throw;
  }
  session->start(std::move(requests));
}

int Generations::abort_all(const Error& error) {
  std::vector<std::shared_ptr<GenerateSession>> all;
  sessions_.with([&](auto& sessions) {
    for (const auto& [key, session] : sessions) all.push_back(session);
  });
  for (const auto& session : all) session->abort(error);
  return static_cast<int>(all.size());
}

int Generations::num_live() const {
  return sessions_.with([](const auto& sessions) { return static_cast<int>(sessions.size()); });
}

}  // namespace gale
