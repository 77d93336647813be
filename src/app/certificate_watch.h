#pragma once

#include <chrono>
#include <filesystem>
#include <vector>

#include "net/tls_context.h"

namespace gale {

// Notices that the files of a certificate were written or replaced. Looks once a second, however often it is asked;
// what changes is believed when it has been the same for two looks, so that a key that follows its certificate is
// there, too.
class CertificateWatch {
 public:
  explicit CertificateWatch(const TlsConfig& config);
  [[nodiscard]] bool has_changed();

 private:
  struct Look {
    std::filesystem::file_time_type written;
    uintmax_t num_bytes = 0;
    bool operator==(const Look&) const = default;
  };
  [[nodiscard]] std::vector<Look> look() const;

  std::vector<std::filesystem::path> files_;
  std::vector<Look> known_, last_;
  std::chrono::steady_clock::time_point next_look_{};
};

}  // namespace gale
