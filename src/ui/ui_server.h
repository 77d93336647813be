#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ui/ui_config.h"

namespace gale {

// The web page and its same-origin proxy to the API. Holds nothing that a restart would lose. Thread-safe.
class UiServer {
 public:
  // Errors as HttpServer::start; kInvalidArgument if the API's URL is none. The API need not be there.
  [[nodiscard]] static Result<std::unique_ptr<UiServer>> start(const UiConfig& config);
  virtual ~UiServer() = default;

  [[nodiscard]] virtual int port() const = 0;
  [[nodiscard]] virtual std::string url() const = 0;             // where this machine reaches it
  [[nodiscard]] virtual std::string made_password() const = 0;   // empty if none had to be made
};

}  // namespace gale
