#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/call.h"
#include "server/stream_archive_config.h"
#include "server/ticker.h"

namespace gale {

// Streams that their clients can take up again after a lost connection: events are numbered and kept for a while. Asked
// for with the header `X-Stream-Resumable: true`; other streams end with their connection. Thread-safe.
class StreamArchive {
 public:
  explicit StreamArchive(const StreamArchiveConfig& config);
  StreamArchive(const StreamArchive&) = delete;
  StreamArchive& operator=(const StreamArchive&) = delete;
  ~StreamArchive();                                 // ends all streams

  [[nodiscard]] static bool is_wanted(const RequestHead& head);
  // The outlet of a new stream that begins on `call`. kOverloaded if the archive is full.
  [[nodiscard]] Result<std::shared_ptr<AnswerOutlet>> open(const std::shared_ptr<Call>& call, const std::string& owner);
  // Goes on with a stream on another call, from event `from`. kNotFound for streams that are gone or somebody else's;
  // kInvalidArgument for events that are not kept any more.
  [[nodiscard]] Status resume(const std::shared_ptr<Call>& call, const std::string& owner, const std::string& id,
                              uint64_t from);
  // Ends a stream, whoever reads it.
  [[nodiscard]] Status cancel(const std::string& owner, const std::string& id);
  void sweep();                                     // ends and drops what nobody came back for

  // "ID:N" of Last-Event-ID.
  struct EventId { std::string stream; uint64_t number = 0; };
  [[nodiscard]] static std::optional<EventId> parse_event_id(std::string_view text);

 private:
  class Stream;
  [[nodiscard]] Result<std::shared_ptr<Stream>> find(const std::string& owner, const std::string& id);

  const StreamArchiveConfig config_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Stream>> streams_;   // by id; shared with their sessions
  Ticker ticker_;                                   // last: it uses the others at once
};

}  // namespace gale
