#include "card_memory.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace fake_card {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMiB = size_t{1} << 20;
constexpr long long kTotalMib = 81'559;

}  // namespace

Card& Card::instance() {
  static Card card;
  return card;
}

Card::Card() {
  const char* folder = std::getenv("GALE_FAKE_CARD");
  folder_ = folder == nullptr ? "" : folder;
  std::ifstream file(fs::path(folder_) / "card");
  for (std::string line; std::getline(file, line);) {
    const size_t gap = line.find(' ');
    if (gap != std::string::npos) facts_[line.substr(0, gap)] = line.substr(gap + 1);
  }
  std::error_code ignored;
  if (!folder_.empty()) fs::create_directories(fs::path(folder_) / "held", ignored);
}

std::string Card::text(const std::string& name, const std::string& otherwise) const {
  const auto found = facts_.find(name);
  return found == facts_.end() ? otherwise : found->second;
}

long long Card::number(const std::string& name, long long otherwise) const {
  const auto found = facts_.find(name);
  return found == facts_.end() ? otherwise : std::strtoll(found->second.c_str(), nullptr, 10);
}

size_t Card::total_bytes() const { return static_cast<size_t>(number("total_mib", kTotalMib)) * kMiB; }

// Of all processes that live.
size_t Card::held_bytes() const {
  size_t sum = 0;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(folder_) / "held", ignored)) {
    const std::string name = entry.path().filename();
    const auto pid = static_cast<pid_t>(std::strtol(name.c_str(), nullptr, 10));
    if (pid <= 0) continue;                              // a file that is being written
    if (::kill(pid, 0) != 0 && errno == ESRCH) {
      fs::remove(entry.path(), ignored);
      continue;
    }
    std::ifstream file(entry.path());
    size_t bytes = 0;
    if (file >> bytes) sum += bytes;
  }
  return sum;
}

size_t Card::free_bytes() const {
  const size_t held = held_bytes(), total = total_bytes();
  return held < total ? total - held : 0;
}

void Card::write_own() const {
  const fs::path held = fs::path(folder_) / "held";
  const std::string pid = std::to_string(::getpid());
  std::ofstream(held / (".new-" + pid)) << own_bytes_;
  std::error_code ignored;
  fs::rename(held / (".new-" + pid), held / pid, ignored);   // readers see the old number or the new one
}

bool Card::take(size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  if (num_bytes > free_bytes()) return false;
  own_bytes_ += num_bytes;
  write_own();
  return true;
}

void Card::give_back(size_t num_bytes) {
  const std::lock_guard lock(mutex_);
  own_bytes_ -= num_bytes;
  write_own();
}

}  // namespace fake_card
