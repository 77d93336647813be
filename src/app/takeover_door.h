#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/takeover_messages.h"

namespace gale {

// What a running server tells of itself to the one that wants its place.
class TakeoverHost {
 public:
  virtual ~TakeoverHost() = default;
  [[nodiscard]] virtual Json facts() const = 0;              // "host", "patience_ms", "engine"
  [[nodiscard]] virtual std::vector<UniqueFd> listeners() const = 0;
};

// Where a running server can be asked to hand its place on: a socket in the runtime folder, for its own user only.
// Nothing is given up before the successor says that it serves; one that vanishes before changes nothing.
class TakeoverDoor {
 public:
  // Takes the place of a socket that is there: it belongs to a server that is dead or just handing over.
  [[nodiscard]] static Result<std::unique_ptr<TakeoverDoor>> open(const std::string& dir, int port);
  ~TakeoverDoor();
  TakeoverDoor(const TakeoverDoor&) = delete;
  TakeoverDoor& operator=(const TakeoverDoor&) = delete;

  // Answers what has come, and never waits. The successor that serves from now on, once: keep the door until the
  // process ends, for that is how the successor learns of it.
  [[nodiscard]] std::optional<Peer> look(const TakeoverHost& host);

 private:
  TakeoverDoor(std::string path, UniqueFd listening);
  [[nodiscard]] std::optional<Peer> hear(const TakeoverHost& host);
  void let_in();
  [[nodiscard]] bool answer(const TakeoverHost& host, const Json& said);   // true: it serves

  const std::string path_;
  UniqueFd listening_;
  std::pair<dev_t, ino_t> identity_{};   // of our socket's file: a successor's in its place is not ours to remove
  UniqueFd successor_;
  Peer peer_;
  bool is_greeted_ = false;
};

}  // namespace gale
