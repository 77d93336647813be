#include "hub/download_progress.h"

#include <algorithm>

#include "base/log.h"

namespace gale {
namespace {

constexpr std::chrono::seconds kInterval{5};

double giga(uint64_t num_bytes) { return static_cast<double>(num_bytes) / 1e9; }

}   // namespace

DownloadProgress::DownloadProgress(std::string name, uint64_t num_bytes)
    : name_(std::move(name)), num_all_(num_bytes), told_at_(std::chrono::steady_clock::now()) {}

void DownloadProgress::add(uint64_t num_bytes) {
  const std::lock_guard lock(mutex_);
  num_done_ += num_bytes;
  const Time now = std::chrono::steady_clock::now();
  if (now - told_at_ < kInterval) return;
  const double seconds = std::chrono::duration<double>(now - told_at_).count();
  const double rate = num_done_ > num_told_ ? static_cast<double>(num_done_ - num_told_) / seconds : 0;
  const uint64_t num_left = num_all_ - std::min(num_all_, num_done_);
  const double percent = num_all_ > 0 ? 1e2 * static_cast<double>(num_done_) / static_cast<double>(num_all_) : 100;
  const std::string left =
      rate > 0 ? fmt::format(", {:.0f} s left", static_cast<double>(num_left) / rate) : std::string();
  log_line(LogLevel::kInfo,
           fmt::format("Downloading {}: {:.0f} %, {:.2f} of {:.2f} GB, {:.1f} MB/s{}", name_, percent, giga(num_done_),
                       giga(num_all_), rate / 1e6, left),
           {{"bytes", static_cast<int64_t>(num_done_)},
            {"bytes_all", static_cast<int64_t>(num_all_)},
            {"bytes_per_s", rate}});
  told_at_ = now;
  num_told_ = num_done_;
}

void DownloadProgress::take_back(uint64_t num_bytes) {
  const std::lock_guard lock(mutex_);
  num_done_ -= std::min(num_done_, num_bytes);
  num_told_ = std::min(num_told_, num_done_);
}

}   // namespace gale
