#include "app/certificate_watch.h"

#include <utility>

namespace gale {

CertificateWatch::CertificateWatch(const TlsConfig& config) {
  if (config.is_on()) files_ = {config.certificate_file, config.key_file};
  known_ = last_ = look();
}

std::vector<CertificateWatch::Look> CertificateWatch::look() const {
  std::vector<Look> out;
  for (const std::filesystem::path& file : files_) {
    std::error_code ignored;  // a file that is gone for a moment differs from one that is there
    const auto written = std::filesystem::last_write_time(file, ignored);
    out.push_back({written, std::filesystem::file_size(file, ignored)});
  }
  return out;
}

bool CertificateWatch::has_changed() {
  constexpr std::chrono::seconds kInterval{1};
  const auto now = std::chrono::steady_clock::now();
  if (files_.empty() || now < next_look_) return false;
  next_look_ = now + kInterval;
  const std::vector<Look> before = std::exchange(last_, look());
  if (last_ == known_ || last_ != before) return false;
  known_ = last_;
  return true;
}

}  // namespace gale
